package ctlbackups

import (
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// list prints the time of the last change and the size of each backup, and the erasures that are not
// done.
func list(c *command) error {
	return c.reported(func() error { return listBackups(c) }, c.openErasures)
}

func listBackups(c *command) error {
	if c.stale >= 0 {
		c.readContacts()
	}
	t := new(listTotals)
	lines := func() error {
		return sideBySide(c, atOnce, c.listed(), func(c *command, b inList) error { return c.listOne(b, t) })
	}
	if !c.tabular() {
		return lines()
	}
	return c.reported(func() error {
		return c.inTable([]string{"last change", "log, checkpoints", "bodies", "bodies measured", "partition", "backup"}, func() error {
			return c.reported(lines, func() error { return c.printListTotals(t) })
		})
	}, c.partitionTable)
}

func (c *command) listOne(b inList, t *listTotals) error {
	if c.holds && !b.mayBeHeld() {
		return nil
	}
	if err := c.readable(b); err != nil {
		return err
	}
	sum, err := c.summary(b)
	if err != nil {
		return fmt.Errorf("%s: %w", label(b.Found), err)
	}
	contact := c.contact(b, sum)
	if b.indexed && sum.Bytes == 0 || c.stale >= 0 && c.now.Sub(contact) < time.Duration(c.stale)*time.Hour {
		return nil
	}
	holds, err := c.held(b.Found, sum.Held)
	if err != nil {
		return fmt.Errorf("%s: %w", label(b.Found), err)
	}
	if c.holds && len(holds) == 0 {
		return nil
	}
	if c.tabular() {
		return c.printListRow(b, sum, holds, t)
	}
	return c.printListed(b, sum, contact, holds)
}

// mayBeHeld returns false if the list shows that the backup has no holds.
func (b inList) mayBeHeld() bool {
	if b.known != nil {
		return b.known.Held
	}
	return b.ListedHolds()
}

// listed returns the chosen backups: if there may be many, from the daemon's index. With -A and
// without -t it also returns the backups set aside, from the bucket.
func (c *command) listed() iter.Seq2[inList, error] {
	return func(yield func(inList, error) bool) {
		backups := inBucket(c.chosen())
		if c.many() && !c.fromBucket {
			backups = c.inIndex(c.listOp(), false)
		}
		unread := map[string]bool{} // partitions whose error was yielded
		for b, err := range backups {
			if of := (repository.UnaskedError{}); errors.As(err, &of) {
				unread[of.Partition.Name] = true
			}
			if !yield(b, err) {
				return
			}
		}
		if c.mode != modeAll || c.stale >= 0 {
			return
		}
		for _, p := range c.bucket.Partitions {
			if unread[p.Name] {
				continue
			}
			for b, err := range inBucket(repository.BrowseAside(c.ctx, p)) {
				if !yield(b, err) {
					return
				}
			}
		}
	}
}

// listOp is the request to the daemon: a table and JSON also show what an earlier stat has measured.
func (c *command) listOp() string {
	if c.tabular() || c.structured() {
		return "stat"
	}
	return "list"
}

// summary returns the time of the last change of a backup, and the bytes of its log, checkpoints
// and blocks (not of packs, which backups share).
func (c *command) summary(b inList) (repository.Summary, error) {
	if b.known != nil {
		return repository.Summary{Changed: b.known.Changed, Bytes: b.known.Bytes, Held: b.known.Held}, nil
	}
	sum, err := b.Listed().Summarize(c.ctx, c.now)
	c.doubt(b.Found, sum.Doubt)
	if b.Aside != "" && history.IsDamage(err) {
		sum.Changed, err = time.Time{}, nil // damaged backups were set aside
	}
	return sum, err
}

func (c *command) printListed(b inList, sum repository.Summary, contact time.Time, holds []repository.Hold) error {
	f := b.Found
	if !c.structured() {
		return c.row(holds, "%s\t%s\t%s\t%s", moment(sum.Changed), c.size(sum.Bytes), label(f), place(f))
	}
	out := struct {
		Timestamp  string            `json:"timestamp"`
		Compressed int64             `json:"compressed"`
		UserID     string            `json:"userid,omitempty"`
		Path       string            `json:"fname"`
		SetAside   string            `json:"set_aside,omitempty"` // the backup's former name
		Bodies     int64             `json:"bodies,omitempty"`    // as an earlier stat has measured them
		Measured   time.Time         `json:"measured,omitzero"`
		Holds      []repository.Hold `json:"holds,omitempty"`
		Contact    time.Time         `json:"contact,omitzero"` // with -t
	}{Timestamp: moment(sum.Changed), Compressed: sum.Bytes, UserID: userID(f), Path: place(f), SetAside: wasOf(f), Holds: holds}
	if c.stale >= 0 {
		out.Contact = contact
	}
	if m := b.measurement(); m != nil {
		out.Bodies, out.Measured = m.Compressed-m.Bytes, m.At
	}
	return c.object(out)
}

// moment formats a time in a list.
func moment(t time.Time) string {
	if t.IsZero() {
		return "[unknown]"
	}
	return timespec.Text(t)
}

// listTotals are the sums of a table.
type listTotals struct {
	mu          sync.Mutex
	backups     int64
	own, bodies int64
	measured    int64 // backups whose bodies are known
}

// add adds a backup. m is nil if nobody has measured it.
func (t *listTotals) add(own int64, m *partitions.Measured) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.backups++
	t.own += own
	if m != nil {
		t.measured++
		t.bodies += m.Compressed - m.Bytes
	}
}

// measurement returns what an earlier stat has measured, or nil.
func (b inList) measurement() *partitions.Measured {
	if b.known == nil {
		return nil
	}
	return b.known.Measured
}

// printListRow prints a line of the table. An earlier stat has measured the bodies, or nobody.
func (c *command) printListRow(b inList, sum repository.Summary, holds []repository.Hold, t *listTotals) error {
	bodies, measured := "-", "-"
	m := b.measurement()
	if m != nil {
		bodies, measured = c.size(m.Compressed-m.Bytes), day(m.At)
	}
	t.add(sum.Bytes, m)
	return c.cells(moment(sum.Changed), c.size(sum.Bytes), bodies, measured, b.Partition.Name, withHolds(label(b.Found), holds))
}

func (c *command) printListTotals(t *listTotals) error {
	bodies, measured := "-", "-"
	if t.measured > 0 {
		bodies, measured = c.size(t.bodies), fmt.Sprintf("%d of %d", t.measured, t.backups)
	}
	return c.cells("", c.size(t.own), bodies, measured, "", objects(t.backups, "backup"))
}

// wasOf returns the former name of a backup that was set aside; "" for others.
func wasOf(f *repository.Found) string {
	if f.Aside == "" {
		return ""
	}
	return f.Info.Name
}
