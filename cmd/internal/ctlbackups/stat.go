package ctlbackups

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// stat prints the size of backups, and the part in use.
func stat(c *command) error {
	s := &measuring{retention: c.bucket.Conf.Duration("backup_retention"), reach: c.tabular() || c.structured()}
	t := new(statTotals)
	lines := func() error {
		backups := inBucket(c.chosen())
		if c.many() && !c.fromBucket {
			backups = c.inIndex("stat", true)
		}
		defer s.flush(c)
		return sideBySide(c, atOnce, backups, func(c *command, b inList) error { return c.statOne(s, b, t) })
	}
	if !c.tabular() {
		return lines()
	}
	return c.reported(func() error {
		titles := []string{"bodies", "log", "checkpoints", "total", "mail", "in use", "last change", "first moment", "older moments", "every moment since", "backup"}
		return c.inTable(c.withShared(titles, "shared"), func() error {
			return c.reported(lines, func() error { return c.printStatTotals(t) })
		})
	}, func() error { return c.printRetention(t) }, c.partitionTable)
}

func (c *command) statOne(s *measuring, b inList, t *statTotals) error {
	if err := c.readable(b); err != nil {
		return err
	}
	m, err := s.measured(c, b)
	if err != nil {
		return fmt.Errorf("%s: %w", label(b.Found), err)
	}
	if b.indexed && m.Compressed == 0 {
		return nil // it is gone
	}
	holds, err := c.held(b.Found, m.Held)
	if err != nil {
		return fmt.Errorf("%s: %w", label(b.Found), err)
	}
	shared, err := c.sharedOf(b.Found)
	if err != nil {
		return fmt.Errorf("%s: %w", label(b.Found), err)
	}
	if c.tabular() {
		err = c.printStatRow(b.Found, m, shared, holds, t)
	} else {
		err = c.printStat(b.Found, m, shared, holds)
	}
	return cmp.Or(err, shared.reported())
}

func (c *command) printStat(f *repository.Found, m measurement, shared *sharedSize, holds []repository.Hold) error {
	ratio, utilisation := percent(m.Compressed, m.Uncompressed), percent(m.Compactable, m.Uncompressed)
	changed := moment(m.Time)
	if !c.structured() {
		format, cells := "%s\t%s\t%s\t%s\t%6.1f%%\t%6.1f%%\t%25s\t%25s", []any{label(f),
			c.size(m.Compressed), c.size(m.Uncompressed), c.size(m.Compactable), ratio, utilisation, changed, changed}
		if shared != nil {
			format, cells = format+"\t%s", append(cells, c.size(shared.Bytes))
		}
		return c.row(holds, format, cells...)
	}
	return c.object(struct {
		UserID       string  `json:"userid,omitempty"`
		Path         string  `json:"fname"`
		Compressed   int64   `json:"compressed"`
		Uncompressed int64   `json:"uncompressed"`
		Compactable  int64   `json:"compactable"`
		Ratio        float64 `json:"compression_ratio"`
		Utilisation  float64 `json:"utilisation_ratio"`
		Start        string  `json:"last_start_time"`
		End          string  `json:"last_end_time"`
		Bodies       int64   `json:"bodies"` // the parts of compressed
		Log          int64   `json:"log"`
		Checkpoints  int64   `json:"checkpoints"`
		*sharedSize
		First    time.Time         `json:"first_moment,omitzero"`
		Single   int               `json:"single_moments"` // before every_moment_since
		Every    time.Time         `json:"every_moment_since,omitzero"`
		Measured time.Time         `json:"measured"`
		Holds    []repository.Hold `json:"holds,omitempty"`
	}{userID(f), place(f), m.Compressed, m.Uncompressed, m.Compactable, ratio, utilisation, changed, changed,
		m.Bodies(), m.Log, m.Checkpoints, shared, m.First, m.Single, m.Every, m.at.UTC().Truncate(time.Second), holds})
}

func percent(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// statTotals are the sums of a table.
type statTotals struct {
	mu      sync.Mutex
	backups int64
	sum     repository.Measured
	oldest  time.Time // measurement
}

func (t *statTotals) add(m *measurement) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.backups++
	t.sum.Compressed += m.Compressed
	t.sum.Own += m.Own
	t.sum.Log += m.Log
	t.sum.Checkpoints += m.Checkpoints
	t.sum.Uncompressed += m.Uncompressed
	t.sum.Compactable += m.Compactable
	if t.oldest.IsZero() || m.at.Before(t.oldest) {
		t.oldest = m.at
	}
}

func (c *command) printStatRow(f *repository.Found, m measurement, shared *sharedSize, holds []repository.Hold, t *statTotals) error {
	t.add(&m)
	older := fmt.Sprint(m.Single)
	if m.Every.IsZero() {
		older = "-"
	}
	part := ""
	if shared != nil {
		part = c.size(shared.Bytes)
	}
	return c.cells(append(c.withShared(c.statSizes(&m.Measured), part), moment(m.Time), day(m.First), older, day(m.Every), withHolds(label(f), holds))...)
}

// statSizes are the cells about sizes.
func (c *command) statSizes(m *repository.Measured) []string {
	return []string{c.size(m.Bodies()), c.size(m.Log), c.size(m.Checkpoints), c.size(m.Compressed), c.size(m.Uncompressed),
		fmt.Sprintf("%.1f%%", percent(m.Compactable, m.Uncompressed))}
}

func (c *command) printStatTotals(t *statTotals) error {
	if t.backups < 2 {
		return nil
	}
	return c.cells(append(c.withShared(c.statSizes(&t.sum), ""), "", "", "", "", objects(t.backups, "backup"))...)
}

// day formats the day of a moment.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateOnly)
}
