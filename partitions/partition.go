package partitions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// Partition is one configured partition: a whole repository.
type Partition struct {
	name     string
	location string
	store    objstore.Store
	set      *Set
	clock    storeclock.Clock
	pool     *packPool
	objects  *history.Objects
	// epoch increases when the index of the partition becomes invalid; each backup compares
	// it with the epoch at which its index was read.
	epoch  atomic.Uint64
	losses losses
	proofs proofs

	reading, storing outage       // of puts, and of everything else
	answered         atomic.Int64 // when the store last answered (UnixNano)

	// asking is held while the store is asked for what follows, so that it is asked once. A
	// channel, so that waiting can be given up.
	asking  chan struct{}
	mu      sync.Mutex // guards what follows
	repo    *repository.Info
	caps    *probe.Capabilities // as found or believed; nil while repo was not asked for
	refused refused
	dead    condemnedList
	leases  map[string]*repository.LeaseWatch // of locks that somebody holds, by path
	// heldLong are the ids of locks that outlasted a wait, by path.
	heldLong map[string]string
}

// Name is NAME of backuppartition-NAME.
func (p *Partition) Name() string { return p.name }

// Location is the location in imapd.conf, without secrets.
func (p *Partition) Location() string { return p.location }

// Config is the partition as tools name it.
func (p *Partition) Config() repository.Config {
	return repository.Config{Name: p.name, Location: p.location, Store: p.store}
}

// Store gives tools the partition's objects.
func (p *Partition) Store() objstore.Store { return p.store }

// repository returns repository.json, from memory after the first time.
// It is made, with the README for people, when create is set and it does not exist;
// otherwise its absence is nil without an error: the partition holds nothing yet.
func (p *Partition) repository(ctx context.Context, create bool) (*repository.Info, error) {
	if r := p.known(); r != nil {
		return r, nil
	}
	end, err := p.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if r := p.known(); r != nil {
		return r, nil // somebody else has asked meanwhile
	}
	r, err := await(ctx, func() (*repository.Info, error) { return repository.ReadInfo(ctx, p.store) })
	if errors.Is(err, objstore.ErrNotExist) {
		if err := p.wasEmpty(); err != nil || !create {
			return nil, err
		}
		r, err = nil, nil
	}
	if err == nil {
		err = p.capable(ctx, r)
	}
	if err == nil && r == nil {
		r, err = createRepository(ctx, p, *p.caps)
	}
	if err == nil {
		err = p.set.claim(p, r.ID)
	}
	if err != nil {
		return nil, p.ofPartition(fmt.Errorf("partition %s (%s): %w", p.name, p.location, err))
	}
	if err := p.adoptIndex(r); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.repo = r
	return r, nil
}

// wasEmpty refuses to make a repository where there was one. Most likely its disk is
// not mounted: a new one would fill the disk below, and be hidden when it is mounted again.
func (p *Partition) wasEmpty() error {
	id, err := p.set.indexedRepository(p.name)
	if err != nil || id == "" {
		return err
	}
	return p.ofPartition(fmt.Errorf("partition %s (%s): %s is not there, and the index knows repository %s in this place: is the disk mounted, and the bucket the right one? "+
		"If it is to be empty, remove backup_index_path while backupd is stopped: %w", p.name, p.location, repository.Key, id, errEmptied))
}

// known is repository.json if it was read; nil otherwise.
func (p *Partition) known() *repository.Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.repo
}

// ask takes the right to ask the store; end gives it back.
func (p *Partition) ask(ctx context.Context) (end func(), err error) {
	limit, stop := limited(ctx)
	defer stop()
	select {
	case p.asking <- struct{}{}:
		return func() { <-p.asking }, nil
	case <-limit.Done():
		return nil, fmt.Errorf("wait for what others ask of partition %s: %w", p.name, givenUp(ctx, limit.Err()))
	}
}

// forgetRepository makes the next command read repository.json again, and whatever else is
// remembered of the partition's objects.
func (p *Partition) forgetRepository() {
	p.objects.Forget()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.repo, p.dead = nil, condemnedList{}
}

// invalidate forgets which packs there are, and makes every backup of the partition be
// read from the bucket, and be searched for losses, before it is used; in a
// later life of the daemon, too.
func (p *Partition) invalidate() error {
	if err := p.noteInvalid(); err != nil {
		return err
	}
	return p.set.index.DropPartition(p.name)
}

// adoptIndex drops what the index holds of another repository under this name.
func (p *Partition) adoptIndex(r *repository.Info) error {
	known, err := p.set.indexedRepository(p.name)
	if err != nil || known == r.ID {
		return err
	}
	if known != "" {
		p.set.log.Warn("the index knows another repository under this partition's name: it is forgotten",
			"partition", p.name, "was", known, "is", r.ID)
		if err := p.set.index.DropLosses(p.name); err != nil {
			return err
		}
	}
	return p.set.forgetPartition(p.name, r.ID)
}

// private reports that backups of this partition share no messages.
func (p *Partition) private() bool {
	r := p.known()
	if r == nil {
		return p.set.opt.DedupPerBackup
	}
	return r.Dedup == "backup"
}

// condemnedList is condemned.json as last read.
type condemnedList struct {
	list *history.Condemned // nil = never
	read time.Time          // monotonic
}

// condemnedFor is how long condemned.json may be believed (design.md 5, Collection).
const condemnedFor = 10 * time.Minute

// Condemned are the packs about to be deleted: nothing new may refer to them. It is
// asked for before the index is looked at: no view is held over a request.
func (p *Partition) Condemned(ctx context.Context) (*history.Condemned, error) {
	if c := p.believed(); c != nil {
		return c, nil
	}
	end, err := p.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if c := p.believed(); c != nil {
		return c, nil
	}
	list, err := await(ctx, func() (*history.Condemned, error) {
		c, _, err := history.ReadCondemned(ctx, p.store)
		return c, err
	})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = condemnedList{list, p.set.opt.Now()}
	return list, nil
}

// believed is condemned.json as last read, nil when that is too long ago.
func (p *Partition) believed() *history.Condemned {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead.list == nil || p.set.opt.Now().Sub(p.dead.read) > condemnedFor {
		return nil
	}
	return p.dead.list
}
