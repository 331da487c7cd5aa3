package metrics

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/internal/version"
)

// process are the metrics of the process itself. They exist although Go and its client library have
// similar ones, because a file for node_exporter must not have those.
type process struct {
	build, running, memory, limit *family
	most                          int64
	ended                         atomic.Bool
}

func newProcess(c *catalogue, opt Options) *process {
	c.begin("Daemon")
	return &process{
		most:    opt.MemoryLimit,
		build:   c.gauge("build_info", "Always 1. The labels are the version and the revision of backupd, and the version of Go.", "version", "revision", "goversion"),
		running: c.gauge("running", "1 while the daemon runs. A file for node_exporter has 0 after the daemon has ended because it was idle."),
		memory:  c.gauge("resident_memory_bytes", "Memory of the process, with the pages of the index that the system can take back."),
		limit:   c.gauge("memory_limit_bytes", "The option backup_memory_limit."),
	}
}

func (p *process) collect(ch chan<- prometheus.Metric) {
	p.build.value(ch, 1, version.Number(), revision(), runtime.Version())
	p.running.value(ch, number(!p.ended.Load()))
	p.limit.value(ch, float64(p.most))
	if n, ok := residentMemory(); ok {
		p.memory.value(ch, n)
	}
}

// revision returns the revision in the source repository, or "unknown".
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// residentMemory reads the second field of statm, in pages (proc_pid_statm(5)).
func residentMemory() (float64, bool) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(fields[1]), 10, 64)
	return float64(n) * float64(os.Getpagesize()), err == nil
}
