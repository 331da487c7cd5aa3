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
	reach     bool // also how far back the backup can be restored

	mu      sync.Mutex
	waiting []partitions.Measured
}

// measurement is the size of a backup, and when it was measured.
type measurement struct {
	repository.Measured
	repository.Reach
	at time.Time
}

// earlier returns the measurement of an earlier stat, if that is valid and complete.
func (s *measuring) earlier(c *command, b inList) (out measurement, ok bool) {
	if b.known == nil || !b.known.Measured.Valid(b.known, s.retention, c.now) {
		return out, false
	}
	m := b.known.Measured
	out.Measured = repository.Measured{Compressed: m.Compressed, Uncompressed: m.Uncompressed, Compactable: m.Compactable,
		Own: m.Bytes, Log: m.Log, Checkpoints: m.Checkpoints, Time: m.Changed, Held: b.known.Held}
	out.Reach, out.at = repository.Reach{First: m.First, Single: m.Single, Every: m.Every}, m.At
	return out, m.Log > 0 && (!s.reach || !m.First.IsZero())
}

// measured returns the size of a backup, from an earlier stat if that is valid.
func (s *measuring) measured(c *command, b inList) (m measurement, err error) {
	if m, ok := s.earlier(c, b); ok {
		return m, nil
	}
	f := b.Found
	if b.indexed {
		if f, err = f.Relist(c.ctx); err != nil {
			return m, err
		}
	}
	f, m.at = f.Listed(), c.now
	if m.Measured, err = f.Measure(c.ctx, c.now, s.retention); err != nil {
		return m, err
	}
	if s.reach {
		if m.Reach, err = f.Reach(c.ctx, c.now); err != nil {
			return m, err
		}
	}
	at, doubt, err := c.lastChange(f, m.Newest)
	if m.Time = at; err == nil && b.known != nil && !doubt {
		s.add(c, partitions.Measured{Partition: f.Partition.Name, Path: f.Path, Bytes: m.Own, Changed: at, At: c.now, Retention: s.retention,
			Compressed: m.Compressed, Uncompressed: m.Uncompressed, Compactable: m.Compactable, Steady: m.Steady,
			Log: m.Log, Checkpoints: m.Checkpoints, First: m.First, Single: m.Single, Every: m.Every})
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
