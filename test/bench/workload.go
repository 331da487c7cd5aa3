package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// workload is mail that is pushed to a fresh server in phases.
type workload struct {
	name        string
	users       int
	connections int
	compress    bool
	mail        bool // the source is the directory with sample mail
	phases      []phase
}

type phase struct{ name, source string }

var workloads = []workload{
	{name: "small", users: 1, connections: 1, phases: []phase{
		{"20,000 x 5 KB", "gen:20000:5k"}, {"nothing new", "gen:20000:5k"}, {"100 new", "gen:20100:5k"},
	}},
	{name: "big", users: 1, connections: 1, phases: []phase{{"500 x 1 MB", "gen:500:1M"}}},
	{name: "users", users: 8, connections: 8, phases: []phase{{"8 users x 1000 x 5 KB at once", "gen:1000:5k"}}},
	{name: "sample", users: 1, connections: 1, mail: true, phases: []phase{{"sample mail", ""}}},
	{name: "heavy", users: 64, connections: 64, phases: []phase{{"64 x 50 MB at once", "gen:1:50M"}}},
	{name: "compressed", users: 1, connections: 1, compress: true, phases: []phase{{"5,000 x 5 KB, COMPRESS", "gen:5000:5k"}}},
}

func workloadNames() (names []string) {
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// measurement is the cost of one push.
type measurement struct {
	Seconds   float64 `json:"seconds"`
	Messages  int     `json:"messages"`
	Bytes     int64   `json:"bytes"`
	ServerCPU float64 `json:"server_cpu_seconds"`
	StoreCPU  float64 `json:"store_cpu_seconds"` // of MinIO
	ClientCPU float64 `json:"client_cpu_seconds"`
	PeakRSS   float64 `json:"peak_rss_mib"` // since the server's start
	Kept      float64 `json:"kept_mb"`      // in total
}

// push runs the client once and measures the cost for the server.
func (l *lab) push(ctx context.Context, s *server, w workload, p phase) (m measurement, err error) {
	source := p.source
	if w.mail {
		source = l.mail
	}
	args := []string{
		"--json", "--server", s.addr, "--auth", "repl", "--mech", "PLAIN",
		"--users", strconv.Itoa(w.users), "--connections", strconv.Itoa(w.connections),
	}
	if w.compress {
		args = append(args, "--compress")
	}
	server, store, err := s.cpu()
	if err != nil {
		return m, err
	}
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(l.dir, "backup_replay"), append(args, source)...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.Env = append(os.Environ(), "BACKUP_REPLAY_PASSWORD="+password)
	if err := cmd.Run(); err != nil {
		return m, fmt.Errorf("%w: %s %s\nserver: %s", err, out.Bytes(), complaint.Bytes(), s.complaint.String())
	}
	var sum struct {
		Rounds []struct {
			Messages int
			Bytes    int64
			Seconds  float64
		}
	}
	if err := json.Unmarshal(out.Bytes(), &sum); err != nil || len(sum.Rounds) != 1 {
		return m, fmt.Errorf("output of backup_replay: %w", err)
	}
	r := sum.Rounds[0]
	m = measurement{Seconds: r.Seconds, Messages: r.Messages, Bytes: r.Bytes}
	m.ClientCPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	server2, store2, err := s.cpu()
	if err != nil {
		return m, err
	}
	m.ServerCPU, m.StoreCPU = server2-server, store2-store
	if m.PeakRSS, err = s.peak(); err != nil {
		return m, err
	}
	if s.kept != nil {
		n, err := s.kept(ctx)
		if err != nil {
			return m, err
		}
		m.Kept = float64(n) / 1e6
	}
	return m, nil
}
