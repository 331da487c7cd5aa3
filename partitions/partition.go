package partitions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

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
	plain    objstore.Store // without the clock, and without conclusions from its errors
	set      *Set
	clock    storeclock.Clock
	pool     *packPool
	objects  *history.Objects
	taken    *history.Objects // for messages that a backup has taken; see stage_taken.go
	// epoch increases when the index of the partition becomes invalid. Each backup compares it
	// with the epoch at which its index was read.
	epoch   atomic.Uint64
	losses  losses
	proofs  proofs
	numbers packNumbers
	recent  recentPacks
	// commits limits the memory of commits that are being built, put and applied at the same time.
	commits *semaphore.Weighted

	reading, storing outage       // storing: puts; reading: all other requests
	answered         atomic.Int64 // when the store last answered (UnixNano)
	wrote            atomic.Int64 // when this process last committed something (UnixNano)
	counters         counters

	// asking is held while the store is asked for the fields below, so that it is asked only
	// once. It is a channel so that a wait can be cancelled.
	asking  chan struct{}
	mu      sync.Mutex // guards the fields below
	repo    *repository.Info
	caps    *probe.Capabilities // as found or assumed; nil until repo is requested
	refused refused
	dead    condemnedList
	leases  map[string]*repository.LeaseWatch // of held locks, by path
	// heldLong contains the ids of locks that outlasted a wait, by path.
	heldLong map[string]string
}

// Name returns NAME of backuppartition-NAME.
func (p *Partition) Name() string { return p.name }

// Location returns the location in imapd.conf, without secrets.
func (p *Partition) Location() string { return p.location }

// Config returns the partition in the form that the tools use.
func (p *Partition) Config() repository.Config {
	return repository.Config{Name: p.name, Location: p.location, Store: p.store}
}

// Store gives tools access to the partition's objects.
func (p *Partition) Store() objstore.Store { return p.store }

// repository returns repository.json, from memory after the first time. If it does not exist
// and create is set, repository creates it together with the README for people. Without create
// it returns nil and no error: the partition holds nothing yet.
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
		return r, nil // another command has read it meanwhile
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
	var empty countStart // when this process created the repository
	if err == nil && r == nil {
		now := p.set.beginCount()
		var own bool
		if r, own, err = createRepository(ctx, p, *p.caps); own {
			empty = now
		}
	}
	if err == nil {
		err = p.set.claim(p, r.ID)
	}
	if err != nil {
		return nil, p.ofPartition(fmt.Errorf("partition %s (%s): %w", p.name, p.location, err))
	}
	if err := p.adoptIndex(r, empty); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.repo = r
	return r, nil
}

// wasEmpty returns an error if the index knows a repository here, so that no new one is
// created. Most likely its disk is not mounted: a new repository would fill the disk below the
// mount point and be hidden once the disk is mounted again.
func (p *Partition) wasEmpty() error {
	id, err := p.set.indexedRepository(p.name)
	if err != nil || id == "" {
		return err
	}
	return p.ofPartition(fmt.Errorf("partition %s (%s): %s is not there, and the index knows repository %s in this place: is the disk mounted, and the bucket the right one? "+
		"If it is to be empty, remove backup_index_path while backupd is stopped: %w", p.name, p.location, repository.Key, id, errEmptied))
}

// known returns repository.json if it was read, otherwise nil.
func (p *Partition) known() *repository.Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.repo
}

// ask takes the right to ask the store. end releases it.
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

// forgetRepository makes the next command read repository.json again. It also drops everything
// else in memory about the partition's objects.
func (p *Partition) forgetRepository() {
	p.objects.Forget()
	p.taken.Forget()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.repo, p.dead = nil, condemnedList{}
}

// invalidate forgets which packs exist. Every backup of the partition is then read from the
// bucket and searched for losses before it is used, even after the daemon restarts.
func (p *Partition) invalidate() error {
	if err := p.noteInvalid(); err != nil {
		return err
	}
	return p.set.index.DropPartition(p.name)
}

// adoptIndex drops the index entries of another repository under this name. empty is when a new
// repository was empty: the index then knows all its backups, as after a census. Zero = unknown.
func (p *Partition) adoptIndex(r *repository.Info, empty countStart) error {
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
	return p.set.forgetPartition(p.name, r.ID, empty)
}

// private reports whether backups of this partition share no messages.
func (p *Partition) private() bool {
	r := p.known()
	if r == nil {
		return p.set.opt.DedupPerBackup
	}
	return r.Dedup == "backup"
}

// condemnedList is condemned.json as last read.
type condemnedList struct {
	list *history.Condemned // nil = not read yet
	read moment             // before the request
}

// condemnedFor is how long condemned.json may be trusted (design.md 5, Collection).
const condemnedFor = 10 * time.Minute

// Condemned returns the packs that are about to be deleted. Nothing new may refer to them.
// Call it before opening a view of the index: no view stays open during a request.
func (p *Partition) Condemned(ctx context.Context) (*history.Condemned, error) {
	list, _, err := p.condemned(ctx)
	return list, err
}

// condemned is Condemned, and returns when the list was read.
func (p *Partition) condemned(ctx context.Context) (*history.Condemned, moment, error) {
	if c := p.believed(); c.list != nil {
		return c.list, c.read, nil
	}
	end, err := p.ask(ctx)
	if err != nil {
		return nil, moment{}, err
	}
	defer end()
	if c := p.believed(); c.list != nil {
		return c.list, c.read, nil
	}
	c, err := await(ctx, func() (c condemnedList, err error) {
		c.read.host = p.set.opt.Now()
		var info objstore.Info
		c.list, info, err = history.ReadCondemned(ctx, p.store)
		c.read.store = info.StoreTime
		return c, err
	})
	if err != nil {
		return nil, moment{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = c
	return c.list, c.read, nil
}

// believed returns condemned.json as last read. Its list is nil if that was too long ago.
func (p *Partition) believed() condemnedList {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead.list == nil || apart(p.dead.read.host, p.set.opt.Now()) > condemnedFor {
		return condemnedList{}
	}
	return p.dead
}

// forgetCondemned makes the next caller read condemned.json again.
func (p *Partition) forgetCondemned() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = condemnedList{}
}
