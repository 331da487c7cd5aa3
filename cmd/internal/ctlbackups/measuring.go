package ctlbackups

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// measuredTogether is how many measurements a request has: it is limited to 64 KiB.
const measuredTogether = 64

// measuring measures backups, and gives the running daemon the results for the next time.
type measuring struct {
	retention time.Duration

	mu      sync.Mutex
	waiting []partitions.Measured
}

// measured returns the size of a backup, from an earlier stat if that is valid.
func (s *measuring) measured(c *command, b inList) (repository.Measured, error) {
	if b.known != nil && b.known.Measured.Valid(b.known, s.retention, c.now) {
		m := b.known.Measured
		return repository.Measured{Compressed: m.Compressed, Uncompressed: m.Uncompressed, Compactable: m.Compactable, Time: m.Changed, Held: b.known.Held}, nil
	}
	f := b.Found
	if b.indexed {
		var err error
		if f, err = f.Relist(c.ctx); err != nil {
			return repository.Measured{}, err
		}
	}
	f = f.Listed()
	m, err := f.Measure(c.ctx, c.now, s.retention)
	if err != nil {
		return m, err
	}
	at, doubt, err := c.lastChange(f, m.Newest)
	if m.Time = at; err == nil && b.known != nil && !doubt {
		s.add(c, partitions.Measured{Partition: f.Partition.Name, Path: f.Path, Bytes: m.Own, Changed: at, At: c.now, Retention: s.retention,
			Compressed: m.Compressed, Uncompressed: m.Uncompressed, Compactable: m.Compactable, Steady: m.Steady})
	}
	return m, err
}

func (s *measuring) add(c *command, m partitions.Measured) {
	s.mu.Lock()
	var full []partitions.Measured
	if s.waiting = append(s.waiting, m); len(s.waiting) == measuredTogether {
		full, s.waiting = s.waiting, nil
	}
	s.mu.Unlock()
	send(c, full)
}

func (s *measuring) flush(c *command) {
	s.mu.Lock()
	rest := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	send(c, rest)
}

// send gives the daemon measurements.
func send(c *command, list []partitions.Measured) {
	if len(list) == 0 {
		return
	}
	if values, err := json.Marshal(list); err == nil {
		// Without a daemon, the next stat measures again.
		_, _ = control.Ask(c.ctx, c.bucket.Conf.String("backup_control_socket"), control.Request{Op: "measured", Values: values})
	}
}
