// Command bench compares whole servers in one run: our backupd on a directory and on MinIO, Debian's
// backupd (Cyrus Backups), and a server that stores nothing. The same client pushes the same mail to
// each.
//
//	go run ./test/bench --bin bin --minio .cache/bin/minio --mail testdata/mail
//
// Servers take turns, each repetition on a fresh one; figures are medians, ratios are relative to
// Debian's. Other work on the machine disturbs wall clock time more than CPU time.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

type options struct {
	bin, minio, mail, debian string
	servers, workloads       string
	reps                     int
	out                      string
	level                    string
	conf                     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.bin, "bin", "bin", "directory with backupd, ctl_backups and backup_replay")
	f.StringVar(&o.minio, "minio", "", "MinIO's program; empty: no MinIO server")
	f.StringVar(&o.debian, "debian", "/usr/lib/cyrus/bin/backupd", "Debian's backupd, of package cyrus-common")
	f.StringVar(&o.mail, "mail", "", "directory with sample mail")
	f.StringVar(&o.servers, "servers", "null,debian,dir,minio", "which servers")
	f.StringVar(&o.workloads, "workloads", "all", "which workloads, of "+strings.Join(workloadNames(), ","))
	f.IntVar(&o.reps, "reps", 3, "repetitions; the median counts")
	f.StringVar(&o.level, "compression", "", "backup_compression of our backupd (empty: the default)")
	f.StringVar(&o.conf, "conf", "", "more lines for our imapd.conf, separated by ;")
	f.StringVar(&o.out, "out", "", "all figures, as JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	l := &lab{options: o, dir: dir}
	if err := l.prepare(); err != nil {
		return err
	}
	defer l.close()
	res, err := l.measure(ctx)
	if err != nil {
		return err
	}
	if err := res.write(os.Stdout); err != nil {
		return err
	}
	if o.out == "" {
		return nil
	}
	b, err := json.MarshalIndent(res, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.out, append(b, '\n'), 0o644)
}

// lab is the shared data of all measurements of a run.
type lab struct {
	options
	dir   string
	sasl  *saslauthd
	count int
}

func (l *lab) prepare() error {
	// Programs that run as another user need a copy that this user can access.
	for _, p := range []string{"backupd", "backup_replay"} {
		if err := install(filepath.Join(l.bin, p), filepath.Join(l.dir, p)); err != nil {
			return err
		}
	}
	var err error
	l.sasl, err = listenSASL(filepath.Join(l.dir, "mux"))
	return err
}

func (l *lab) close() { l.sasl.close() }

func (l *lab) measure(ctx context.Context) (*results, error) {
	res := &results{Reps: l.reps}
	for _, w := range workloads {
		if l.workloads != "all" && !slices.Contains(strings.Split(l.workloads, ","), w.name) || w.mail && l.mail == "" {
			continue
		}
		for range l.reps {
			for name := range strings.SplitSeq(l.servers, ",") {
				if name == "minio" && l.minio == "" {
					continue
				}
				if err := l.repeat(ctx, res, w, name); err != nil {
					return nil, fmt.Errorf("%s to %s: %w", w.name, name, err)
				}
				fmt.Fprint(os.Stderr, ".")
			}
		}
		fmt.Fprintln(os.Stderr, "", w.name)
	}
	return res, nil
}

// repeat runs one workload against one fresh server.
func (l *lab) repeat(ctx context.Context, res *results, w workload, name string) (err error) {
	l.count++
	dir := filepath.Join(l.dir, fmt.Sprint(l.count))
	s, err := l.start(ctx, name, dir, w)
	if err != nil {
		return err
	}
	defer func() {
		s.stop()
		if e := os.RemoveAll(dir); err == nil {
			err = e
		}
	}()
	for _, p := range w.phases {
		m, err := l.push(ctx, s, w, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		res.add(w, p.name, name, m)
	}
	return nil
}
