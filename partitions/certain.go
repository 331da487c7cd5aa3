package partitions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// proveAhead is the number of concurrent requests that check for objects.
const proveAhead = 16

// certain verifies that the objects which hold the chunks exist, before a commit names the
// places. It returns the current places, which differ if a pack was rewritten. If an object
// is missing although the index refers to it, the bucket was restored to an older state:
// certain invalidates the whole index of the partition. again means that the backup names
// the chunks already: its log may have other places of them, which healing finds.
func (p *Partition) certain(ctx context.Context, places []history.Place, again bool) ([]history.Place, error) {
	at, gone, err := p.prove(ctx, places)
	if err != nil || len(gone) == 0 {
		return at, err
	}
	if err := p.present(ctx); err != nil {
		return nil, err
	}
	if at, gone, err = p.prove(ctx, places); err != nil || len(gone) == 0 {
		return at, err
	}
	if gone = slices.DeleteFunc(gone, func(l loss) bool { return l.erased }); len(gone) == 0 {
		// No loss: the backup has an event about it, which the index reads before the client tries again. If that was lost,
		// the log has a bridge, and the index is built again, without this place: see withoutPlace.
		return nil, fmt.Errorf("partition %s: a message was erased meanwhile: %w", p.name, cyrus.ErrLocked)
	}
	var collected []loss
	lost := gone
	if !again {
		collected, lost = split(gone)
	}
	if len(collected) > 0 {
		err = p.forgetCollected(collected)
	}
	if len(lost) > 0 {
		err = errors.Join(err, p.wentBack(lost))
	}
	return nil, err
}

// present verifies that the partition exists at all. A disk that is not mounted has lost
// nothing.
func (p *Partition) present(ctx context.Context) error {
	p.forgetRepository()
	repo, err := p.repository(ctx, false)
	if err == nil && repo == nil {
		err = fmt.Errorf("partition %s (%s): %s is gone: %w", p.name, p.location, repository.Key, cyrus.ErrLocked)
	}
	return err
}

// wentBack records losses. If objects are absent, it also invalidates the index of the
// partition. The client gets LOCKED, and by the time it retries the command, the server no
// longer claims to hold anything that is lost.
func (p *Partition) wentBack(gone []loss) error {
	added, err := p.noteLost(gone, true)
	if err != nil {
		return err
	}
	err = fmt.Errorf("partition %s: the bucket lacks what the index has in it: %w", p.name, cyrus.ErrLocked)
	if added == 0 || !anyAbsent(gone) {
		return err
	}
	p.set.log.Error("objects are missing from the bucket, which was perhaps rolled back to an older state: the index of this partition is dropped, every backup is read from the bucket again, and the next sync of the source sends the lost data",
		"partition", p.name, "location", p.location, "losses", added)
	return errors.Join(p.invalidate(), err)
}

// withoutPlace records the loss of chunks of messages that the log gives no place, although it does not call them missing: the
// messages were erased, and the log has lost the commit with that event. It returns an error that defers the client, and the
// backup is healed when it is next opened.
func (p *Partition) withoutPlace(chunks []history.ChunkID) error {
	var list []loss
	for i := range chunks {
		list = append(list, loss{object: objectID(""), chunk: &chunks[i], how: lossDamaged})
	}
	if _, err := p.noteLost(list, true); err != nil {
		return err
	}
	p.set.log.Error("a message has no place in the log: the source is asked for it again", "partition", p.name, "chunks", len(chunks))
	return fmt.Errorf("partition %s: chunk %s: %w: %w", p.name, chunks[0], history.ErrNoPlace, cyrus.ErrLocked)
}

func anyAbsent(list []loss) bool {
	for _, l := range list {
		if l.how == lossAbsent {
			return true
		}
	}
	return false
}

// prove checks that the objects of places exist, unless they were seen recently. It returns
// the current places and stores changed places in the index. gone lists the losses.
func (p *Partition) prove(ctx context.Context, places []history.Place) (at []history.Place, gone []loss, err error) {
	absent, err := p.absent(ctx, places)
	if err != nil || len(absent) == 0 {
		return places, nil, err
	}
	m := &mover{p: p, objects: history.NewObjects(p.store, 1), notes: map[string]*history.Moved{}}
	all := make([]proved, len(places))
	for i, pl := range places {
		all[i] = proved{pl, pl}
	}
	// A commit that was removed leads to a pack, and a pack that was rewritten in turn to another one.
	for range placeSteps {
		var moved []history.Place
		if all, moved, gone, err = m.followAll(ctx, all, absent, gone); err != nil {
			return nil, nil, err
		}
		if absent, err = p.absent(ctx, moved); err != nil {
			return nil, nil, err
		}
		if len(absent) == 0 {
			break
		}
	}
	for object := range absent {
		gone = append(gone, loss{object: objectID(object), how: lossAbsent})
	}
	for _, pl := range all {
		if absent[pl.now.Object] {
			gone = pl.lost(gone)
		}
		at = append(at, pl.now)
	}
	return at, gone, p.settle(m.moved)
}

// proved is a place as it was given, and the place to which it leads.
type proved struct{ was, now history.Place }

// lost adds the loss of the place as it was given to list, if that led to another one. The index may
// keep a place in a commit that was merged, and would answer that the message is there.
func (p *proved) lost(list []loss) []loss {
	if p.was == p.now {
		return list
	}
	return append(list, loss{object: objectID(p.was.Object), chunk: &p.was.Chunk, how: lossDamaged})
}

// placeSteps is how many steps can lead from a place to the object that has the chunk now.
const placeSteps = 2

// absent returns the objects of places that do not exist.
func (p *Partition) absent(ctx context.Context, places []history.Place) (map[string]bool, error) {
	epoch, now := p.epoch.Load(), p.set.opt.Now()
	ask := map[string]bool{}
	for _, pl := range places {
		if _, twice := ask[pl.Object]; !twice && !p.proofs.has(objectID(pl.Object), now) {
			ask[pl.Object] = true
		}
	}
	found := make(chan string, len(ask))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(proveAhead)
	for object := range ask {
		g.Go(func() error {
			_, err := await(gctx, func() (objstore.Info, error) { return p.store.Stat(gctx, object) })
			if errors.Is(err, objstore.ErrNotExist) {
				p.proofs.drop(objectID(object))
				return nil
			}
			if err == nil {
				p.saw(object, epoch)
				found <- object
			}
			return err
		})
	}
	err := g.Wait()
	close(found)
	for object := range found {
		delete(ask, object)
	}
	return ask, err
}

// saw records that an object exists. epoch is the epoch of the partition before the object
// was seen.
func (p *Partition) saw(object string, epoch uint64) {
	if p.epoch.Load() == epoch {
		p.proofs.add(objectID(object), p.set.opt.Now())
	}
}

// settle stores the new places of chunks of rewritten packs in the index.
func (p *Partition) settle(moved []history.Place) error {
	if len(moved) == 0 {
		return nil
	}
	return p.set.index.UpdateLong(func(t *index.Txn) error {
		for _, pl := range moved {
			at, ok := parsePlace(pl)
			if !ok {
				continue
			}
			if err := p.movePlace(t, pl.Chunk, at); err != nil {
				return err
			}
		}
		return nil
	})
}

// mover finds the current places of chunks whose objects are absent.
type mover struct {
	p       *Partition
	objects *history.Objects
	notes   map[string]*history.Moved // by key of the pack; nil = no note
	moved   []history.Place           // that follow has found
}

// followAll replaces the places in absent objects. It adds the places that are lost to gone.
func (m *mover) followAll(ctx context.Context, places []proved, absent map[string]bool, gone []loss) (at []proved, moved []history.Place, _ []loss, err error) {
	for _, pl := range places {
		if absent[pl.now.Object] {
			now, lost, err := m.follow(ctx, pl.now)
			if err != nil {
				return nil, nil, nil, err
			}
			if lost != nil {
				gone = pl.lost(append(gone, *lost))
				continue
			}
			pl.now = now
			moved = append(moved, now)
		}
		at = append(at, pl)
	}
	m.moved = append(m.moved, moved...)
	return at, moved, gone, nil
}

// follow returns the current place of a chunk, or the loss if it cannot be read.
func (m *mover) follow(ctx context.Context, pl history.Place) (now history.Place, lost *loss, err error) {
	id := objectID(pl.Object)
	if !strings.HasPrefix(pl.Object, "packs/") {
		now, err = await(ctx, func() (history.Place, error) { return m.objects.Resolve(ctx, pl) })
		if err != nil && history.IsUnreadable(err) {
			return pl, &loss{object: id, how: lossAbsent}, nil
		}
		if err == nil && now.Erased() {
			return pl, &loss{object: id, chunk: &pl.Chunk, how: lossDamaged, erased: true}, nil
		}
		return now, nil, err
	}
	note, err := m.note(ctx, pl.Object)
	switch {
	case err != nil && history.IsUnreadable(err):
		return pl, &loss{object: id, how: lossDamaged}, nil
	case err != nil:
		return pl, nil, err
	case note == nil:
		return pl, &loss{object: id, how: lossAbsent}, nil
	}
	pack, ok := note.Entries[pl.Entry]
	if !ok {
		gone := &loss{object: id, chunk: &pl.Chunk, how: lossDamaged}
		if note.NothingLost() {
			gone.collected = &pl
		}
		return pl, gone, nil
	}
	pl.Object = pack
	return pl, nil, nil
}

// notesAtOnce bounds the notes in memory.
const notesAtOnce = 8

// note returns the note about a pack in moved/; nil if there is none.
func (m *mover) note(ctx context.Context, pack string) (*history.Moved, error) {
	if n, ok := m.notes[pack]; ok {
		return n, nil
	}
	n, err := await(ctx, func() (*history.Moved, error) {
		n, _, err := history.ReadMoved(ctx, m.p.store, pack)
		return n, err
	})
	if errors.Is(err, objstore.ErrNotExist) {
		n, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(m.notes) >= notesAtOnce {
		clear(m.notes)
	}
	m.notes[pack] = n
	return n, nil
}
