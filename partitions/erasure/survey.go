package erasure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// Survey is all that the partitions have of a backup.
type Survey struct {
	Name   repository.Name
	Copies []Copy
	// Records are the erasures of the backup that are not done.
	Records []Record

	parts []*part
}

// Copy is one copy of a backup.
type Copy struct {
	*repository.Found
	Objects, Bytes int64
	Messages       int // live and expunged; -1 = unknown, because it is damaged
	Held           error
}

// Record is an erasure in a partition.
type Record struct {
	Partition string
	*repository.Erasure
}

// part is the work in one partition.
type part struct {
	repository.Config
	whole   *repository.Whole
	records []*record // of this backup, not done
}

// record is an erasure with the version of its object.
type record struct {
	*repository.Erasure
	etag   string
	unread []collection.BlockedError
	listed bool // its list of packs is complete, as long as this run has the lease of collection
}

// ErrStray reports objects whose backup is unknown.
var ErrStray = errors.New("it has objects, but no set-aside.json: look at them, and remove them if they are not needed")

// Look finds all that the partitions have of a backup. It returns an error if any of them cannot be
// read, because a copy may be there. here is this host's clock.
func Look(ctx context.Context, parts []repository.Config, n repository.Name, here func() time.Time) (*Survey, error) {
	s := &Survey{Name: n}
	for _, c := range parts {
		p, err := lookAt(ctx, c, n)
		if err != nil {
			return nil, err
		}
		s.parts = append(s.parts, p)
		for _, r := range p.records {
			s.Records = append(s.Records, Record{c.Name, r.Erasure})
		}
		for _, f := range p.copies() {
			c, err := describe(ctx, f, here)
			if err != nil {
				return nil, fmt.Errorf("partition %s: %s: %w", p.Name, f.Where(), err)
			}
			s.Copies = append(s.Copies, c)
		}
	}
	return s, nil
}

// Held returns ErrOnHold with every hold of a copy, or nil.
func (s *Survey) Held() error {
	var all error
	for _, c := range s.Copies {
		if c.Held != nil {
			all = errors.Join(all, fmt.Errorf("partition %s: %s: %w", c.Partition.Name, c.Where(), c.Held))
		}
	}
	return all
}

func lookAt(ctx context.Context, c repository.Config, n repository.Name) (*part, error) {
	p := &part{Config: c}
	for e, err := range repository.Erasures(ctx, c, time.Time{}) {
		if err != nil && (e == nil || repository.IsStoreError(err)) {
			return nil, err // it may be about this backup
		}
		if err != nil || e.Backup != n.Path() || e.State == repository.ErasureDone || e.InPart() {
			continue // compact reports a record that is unreadable
		}
		now, info, err := repository.ReadErasure(ctx, c.Store, e.ID)
		if err != nil {
			return nil, fmt.Errorf("partition %s: %w", c.Name, err)
		}
		p.records = append(p.records, &record{Erasure: now, etag: info.ETag})
	}
	var err error
	if p.whole, err = repository.Everything(ctx, p.Config, n); err != nil {
		return nil, err
	}
	for _, base := range p.whole.Strays {
		if p.erasing(base) == nil {
			return nil, fmt.Errorf("partition %s: %s/: %w", p.Name, base, ErrStray)
		}
	}
	return p, nil
}

// erasing returns the record of an erasure that removes a copy, or nil.
func (p *part) erasing(base string) (found *record) {
	for _, r := range p.records {
		if slices.Contains(r.Copies, base) && (found == nil || r.Unfinished()) {
			found = r
		}
	}
	return found
}

// copies returns what exists of the backup.
func (p *part) copies() (list []*repository.Found) {
	if p.whole.Active != nil {
		list = append(list, p.whole.Active)
	}
	return append(list, p.whole.Aside...)
}

func describe(ctx context.Context, f *repository.Found, here func() time.Time) (Copy, error) {
	c := Copy{Found: f, Messages: -1}
	for info, err := range f.Partition.Store.List(ctx, repository.BackupPrefix(f.Path), "") {
		if err != nil {
			return c, err
		}
		c.Objects++
		c.Bytes += info.Size
	}
	n, err := messages(ctx, f)
	if err == nil {
		c.Messages = n
	} else if !history.IsDamage(err) {
		return c, err
	}
	// A hold ends by time only if store and host agree about the time.
	now, err := storeclock.Certain(ctx, f.Partition.Store, repository.Key, here, time.Time{})
	if err != nil && !errors.Is(err, storeclock.ErrUncertain) {
		return c, err
	}
	c.Held = f.CheckHolds(ctx, now)
	if c.Held != nil && !errors.Is(c.Held, repository.ErrOnHold) {
		return c, c.Held
	}
	return c, nil
}

// messages counts the messages that a backup knows.
func messages(ctx context.Context, f *repository.Found) (n int, err error) {
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if errors.Is(err, history.ErrBeforeFirst) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer m.Close()
	for box, err := range m.Mailboxes() {
		if err != nil {
			return 0, err
		}
		n += box.Records
	}
	return n, nil
}

// PackCount is how many packs of a partition have bodies of the backup.
type PackCount struct {
	Partition string
	Packs     int64
	Unread    []collection.BlockedError
}

// CountPacks reads all copies, and counts the packs that have their bodies.
func (s *Survey) CountPacks(ctx context.Context) (out []PackCount, err error) {
	for _, p := range s.parts {
		var prefixes []string
		if p.whole.Active != nil {
			prefixes = append(prefixes, repository.BackupPrefix(p.whole.Active.Path))
		}
		for _, f := range p.whole.Aside {
			prefixes = append(prefixes, f.Aside+"/")
		}
		if len(prefixes) == 0 {
			continue
		}
		n, err := collection.Name(ctx, p.Store, prefixes)
		if err != nil {
			return nil, err
		}
		c := PackCount{Partition: p.Name, Unread: n.Unread}
		for _, err := range n.Packs() {
			if err != nil {
				return nil, errors.Join(err, n.Close())
			}
			c.Packs++
		}
		if err := n.Close(); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
