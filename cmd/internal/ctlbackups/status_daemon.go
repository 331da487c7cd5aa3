package ctlbackups

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/partitions"
)

// statusDaemon describes the daemon of this host.
type statusDaemon struct {
	// State is running, idle (master starts it for the next connection), unknown (no daemon has run
	// here) or unreachable.
	State string `json:"state"`
	Error string `json:"error,omitempty"`
	*control.Daemon
}

// The states of a daemon.
const (
	daemonRunning     = "running"
	daemonIdle        = "idle"
	daemonUnknown     = "unknown"
	daemonUnreachable = "unreachable"
)

// ofDaemon is the answer of a daemon, or what the last one has left.
type ofDaemon struct {
	daemon statusDaemon
	set    *partitions.Status // nil: unknown
	err    error              // why something is unknown
}

// askDaemon asks a running daemon, or reads what the last one has left.
func (c *command) askDaemon(ctx context.Context) ofDaemon {
	ctx, cancel := context.WithTimeout(ctx, statusPart)
	defer cancel()
	var s *control.Status
	reply, err := control.AskParts(ctx, c.bucket.Conf.String("backup_control_socket"), control.Request{Op: "status"}, statusPart, func(part json.RawMessage) error {
		s = new(control.Status)
		return json.Unmarshal(part, s)
	})
	state := daemonRunning
	switch {
	case errors.Is(err, control.ErrNoDaemon):
		state = daemonIdle
		if s, err = control.ReadStatus(control.StatusPath(c.bucket.Conf.String("backup_index_path"))); errors.Is(err, fs.ErrNotExist) {
			return ofDaemon{daemon: statusDaemon{State: daemonUnknown}}
		}
	case err == nil && reply.Error != "":
		err = errors.New("backupd: " + reply.Error)
	}
	return c.answered(state, s, err)
}

func (c *command) answered(state string, s *control.Status, err error) ofDaemon {
	out := ofDaemon{daemon: statusDaemon{State: state}, err: err}
	if s == nil {
		out.daemon.State = daemonUnreachable
	} else {
		out.daemon.Daemon = &s.Daemon
		if s.Set != nil && err == nil {
			out.set = new(partitions.Status)
			if out.err = json.Unmarshal(s.Set, out.set); out.err != nil {
				out.set = nil
			}
		}
	}
	if out.err != nil {
		out.daemon.Error = out.err.Error()
	}
	return out
}
