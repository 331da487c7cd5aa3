package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// login is the user that clients log in as, an admin of every server.
const login = "repl"

// mail is what backup_replay pushes.
type mail struct {
	source      string
	user        string // "" = replay
	users       int    // 0 = 1
	connections int    // 0 = 1
	compress    bool
}

// push is what one push of mail cost.
type push struct {
	Messages int
	Bytes    int64
	Seconds  float64
	Commands map[string]struct {
		Count int
		Total struct{ P50, Max float64 } `json:"total_ms"`
	}

	serverCPU, storeCPU, clientCPU float64 // seconds
	peak                           float64 // MiB of the server, since its start
	kept                           int64   // bytes, in total
}

// push runs the client once and measures the cost for the server.
func (l *lab) push(ctx context.Context, s *server, m mail) (p push, err error) {
	server, store, err := s.cpu()
	if err != nil {
		return p, err
	}
	c, err := timed(ctx, l.replay(s.addr, m))
	if err != nil {
		return p, fmt.Errorf("%w; server: %s", err, tail(s.complaint.String()))
	}
	var sum struct{ Rounds []push }
	if err := json.Unmarshal(c.out, &sum); err != nil || len(sum.Rounds) != 1 {
		return p, fmt.Errorf("output of backup_replay: %w", err)
	}
	p = sum.Rounds[0]
	p.clientCPU = c.cpu
	server2, store2, err := s.cpu()
	if err != nil {
		return p, err
	}
	p.serverCPU, p.storeCPU = server2-server, store2-store
	if p.peak, err = s.peak(); err != nil {
		return p, err
	}
	if s.kept != nil {
		p.kept, err = s.kept(ctx)
	}
	return p, err
}

func (l *lab) replay(addr string, m mail) *exec.Cmd {
	args := []string{"--json", "--server", addr, "--auth", login, "--mech", "PLAIN",
		"--users", strconv.Itoa(max(m.users, 1)), "--connections", strconv.Itoa(max(m.connections, 1))}
	if m.user != "" {
		args = append(args, "--user", m.user)
	}
	if m.compress {
		args = append(args, "--compress")
	}
	cmd := exec.Command(filepath.Join(l.newest().dir, "backup_replay"), append(args, m.source)...)
	cmd.Env = append(os.Environ(), "BACKUP_REPLAY_PASSWORD="+password)
	return cmd
}

// add adds the usual metrics of a push.
func (p push) add(t *record.Table, work string, s *server) {
	c := s.column()
	t.Add(work, c, record.Wall, p.Seconds)
	t.Add(work, c, record.ServerCPU, p.serverCPU)
	if p.Messages > 0 {
		t.Add(work, c, record.Rate, float64(p.Messages)/p.Seconds)
		if s.kept != nil {
			t.Add(work, c, record.Kept, float64(p.kept)/1e6)
		}
	}
	if s.store != nil {
		t.Add(work, c, record.StoreCPU, p.storeCPU)
	}
	t.Add(work, c, record.ClientCPU, p.clientCPU)
	t.Add(work, c, record.PeakRSS, p.peak)
}
