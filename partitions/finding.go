package partitions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// finding holds the result of this host's probe of a partition's store. It is stored in the
// index, because each host reaches the bucket in its own way. A gateway between one host and
// the bucket may drop the conditions.
type finding struct {
	repository.Prober
	Repository   string             `json:"repository"`
	Exclusive    bool               `json:"exclusive"` // backup_exclusive at that time
	Capabilities probe.Capabilities `json:"capabilities"`
}

// Errors about missing capabilities of a store. Their texts name the remedy.
var (
	errCondition = errors.New("the store does not honour conditional puts (If-None-Match), so two writers could overwrite each other: " +
		"use an endpoint without a gateway that drops the condition, or set backup_exclusive: yes in imapd.conf if this host is, and remains, the only writer")
	errRanges = errors.New("the store does not answer reads of a part of an object (Range), so nothing that is put there could be restored: " +
		"use an endpoint without a gateway that drops the header, or another store")
	errLists = errors.New("the store does not list its objects completely and in the order of their names, so no index could be made from it: " +
		"use a bucket of another kind (not a directory bucket), or another store")
)

// refusedFor is how long a store that lacks a capability is not probed again.
const refusedFor = time.Minute

// prober identifies this configuration and this program.
func (p *Partition) prober() repository.Prober {
	return repository.Prober{Location: p.location, Software: p.set.opt.Software}
}

// capable verifies that the partition's store has the capabilities that this configuration
// needs. r is its repository.json; nil = there is none yet. The finding is stored in the
// index. The store is probed again if the configuration or the program has changed, and
// always if a capability was missing.
func (p *Partition) capable(ctx context.Context, r *repository.Info) error {
	if err := p.refusal(); err != nil {
		return err
	}
	caps, err := p.found(r)
	if err != nil {
		return err
	}
	if caps == nil {
		if caps, err = p.tryStore(ctx, r); err != nil {
			return err
		}
	}
	return p.accept(caps, r == nil)
}

// found returns the known capabilities; nil if the store has to be probed.
func (p *Partition) found(r *repository.Info) (*probe.Capabilities, error) {
	if r == nil {
		return nil, nil
	}
	if p.set.opt.NoProbe {
		return &r.Capabilities, nil
	}
	f, err := p.readFinding()
	if err != nil {
		return nil, err
	}
	switch {
	case f != nil && f.Prober == p.prober() && f.Repository == r.ID && f.Exclusive == p.set.opt.Exclusive && complete(f.Capabilities):
		return &f.Capabilities, nil
	case f == nil && r.Probed == p.prober() && complete(r.Capabilities):
		return &r.Capabilities, nil
	}
	return nil, nil
}

// complete reports whether c has every capability that a store could gain later.
func complete(c probe.Capabilities) bool {
	return c.Conditional() && c.IfMatch && c.Range && c.Suffix && c.ListOrder
}

// tryStore probes the store and records the result.
func (p *Partition) tryStore(ctx context.Context, r *repository.Info) (*probe.Capabilities, error) {
	caps, err := await(ctx, func() (probe.Capabilities, error) { return probe.Run(ctx, p.store, p.set.opt.Now) })
	if errors.Is(err, objstore.ErrDenied) && !objstore.IsTemporary(err) && r != nil && complete(r.Capabilities) {
		p.set.log.Warn("the store could not be probed; the capabilities in repository.json are used: the keys need to put, get, list and delete below probe/",
			"partition", p.name, "location", p.location, "err", err)
		return &r.Capabilities, nil
	}
	if err != nil {
		return nil, fmt.Errorf("probe the store: %w", err)
	}
	p.report(caps)
	if r == nil {
		return &caps, nil
	}
	if err := p.improve(ctx, r, caps); err != nil {
		p.set.log.Warn("repository.json could not be changed to what the probe found; it is tried again at the next start",
			"partition", p.name, "location", p.location, "err", err)
	}
	return &caps, p.writeFinding(r.ID, caps)
}

// report logs the missing capabilities for the operator.
func (p *Partition) report(c probe.Capabilities) {
	if len(c.Notes) > 0 {
		p.set.log.Warn("the probe misses something in the store", "partition", p.name, "location", p.location, "missing", strings.Join(c.Notes, "; "))
	}
}

// accept sets the capabilities of the partition if they are sufficient. An existing
// repository is not refused because of incorrect lists, since only a rebuild needs lists.
func (p *Partition) accept(c *probe.Capabilities, create bool) error {
	var err error
	switch {
	case p.set.opt.NoProbe:
	case !c.Conditional() && !p.set.opt.Exclusive:
		err = errCondition
	case !c.Range || !c.Suffix:
		err = errRanges
	case !c.ListOrder && create:
		err = errLists
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.refused = refused{err, p.set.opt.Now()}
		return err
	}
	p.caps = c
	return nil
}

// refused holds the error about a missing capability, and when it was found.
type refused struct {
	err error
	at  time.Time
}

// refusal returns the error of a recent probe; nil if there is none.
func (p *Partition) refusal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused.err == nil || p.set.opt.Now().Sub(p.refused.at) > refusedFor {
		return nil
	}
	return p.refused.err
}

// Conditional reports whether puts are conditional, so that no object overwrites another. If
// the store honours conditions, an exclusive writer uses them too, because ctl_backups takes
// numbers for its locks.
func (p *Partition) Conditional() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.caps == nil {
		return !p.set.opt.Exclusive
	}
	return p.caps.Conditional()
}

// stillConditional probes the store again after it has answered that it does not support
// conditions, because the bucket may have moved to another store. One such answer alone does
// not turn the conditions off.
func (p *Partition) stillConditional(ctx context.Context) (bool, error) {
	end, err := p.ask(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	if !p.Conditional() {
		return false, nil // another command has found this in the meantime
	}
	r, err := await(ctx, func() (*repository.Info, error) { return repository.ReadInfo(ctx, p.store) })
	if err != nil {
		return false, err
	}
	caps, err := p.tryStore(ctx, r)
	if err == nil {
		err = p.accept(caps, false)
	}
	if err != nil {
		p.forgetRepository()
		return false, fmt.Errorf("partition %s (%s): %w", p.name, p.location, err)
	}
	return p.Conditional(), nil
}

// improve updates the capabilities in repository.json if the probe found more than it
// records. improve never removes a capability: one host may miss it only because of its way
// to the store, and the index of that host records this.
func (p *Partition) improve(ctx context.Context, r *repository.Info, c probe.Capabilities) error {
	if complete(r.Capabilities) || !complete(c) {
		return nil
	}
	b, info, err := repository.ReadSmall(ctx, p.store, repository.Key)
	if err != nil {
		return err
	}
	now, err := repository.DecodeInfo(b)
	if err != nil || complete(now.Capabilities) {
		return err
	}
	now.Capabilities, now.Probed = c, p.prober()
	if b, err = now.Encode(); err != nil {
		return err
	}
	_, err = p.store.Put(ctx, repository.Key, bytes.NewReader(b), objstore.PutOptions{IfMatch: info.ETag})
	if errors.Is(err, objstore.ErrPrecondition) {
		return nil // another host has just updated it
	}
	return err
}

func (p *Partition) readFinding() (*finding, error) {
	var f *finding
	err := p.set.index.View(func(t *index.Txn) error {
		b, err := t.Get(index.FindingKey(p.name))
		if errors.Is(err, index.ErrNotFound) {
			return nil
		}
		if err == nil {
			err = json.Unmarshal(b, &f)
		}
		return err
	})
	return f, err
}

func (p *Partition) writeFinding(repository string, c probe.Capabilities) error {
	b, err := json.Marshal(finding{Prober: p.prober(), Repository: repository, Exclusive: p.set.opt.Exclusive, Capabilities: c})
	if err != nil {
		return err
	}
	return p.set.index.Update(func(t *index.Txn) error { return t.Set(index.FindingKey(p.name), b) })
}
