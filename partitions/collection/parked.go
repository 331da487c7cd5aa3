package collection

import (
	"context"
	"errors"
	"iter"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// parkedPrefix is the prefix of packs that a repair has put aside until their own key is free.
const parkedPrefix = asidePrefix + "packs/"

// Parked yields the keys in set-aside/ that have, or had, one of these packs: a repair that was
// interrupted has left it there. packs are in order. A key may come twice.
func Parked(ctx context.Context, s objstore.Store, packs iter.Seq2[Pack, error]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, keys := range []iter.Seq2[string, error]{parkedObjects(ctx, s), parkedVersions(ctx, s)} {
			if !among(keys, packs, yield) {
				return
			}
		}
	}
}

// among yields the keys of parked packs that are among some packs. It reports whether to continue.
func among(keys iter.Seq2[string, error], packs iter.Seq2[Pack, error], yield func(string, error) bool) bool {
	var e *erasing // begun with the first key, because there is seldom one
	for key, err := range keys {
		id, ok := packOf(strings.TrimPrefix(key, asidePrefix))
		if err == nil && !ok {
			continue
		}
		if e == nil {
			e = beginErasing(packs)
			defer e.stop()
		}
		in := false
		if err == nil {
			in, err = e.has(id)
		}
		if (in || err != nil) && !yield(key, err) || err != nil {
			return false
		}
	}
	return true
}

func parkedObjects(ctx context.Context, s objstore.Store) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for info, err := range s.List(ctx, parkedPrefix, "") {
			if !yield(info.Key, err) {
				return
			}
		}
	}
}

// parkedVersions yields the keys with former versions.
func parkedVersions(ctx context.Context, s objstore.Store) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for v, err := range s.Noncurrent(ctx, parkedPrefix, "") {
			if errors.Is(err, objstore.ErrUnsupported) {
				return
			}
			if v.Marker && err == nil {
				continue
			}
			if !yield(v.Key, err) {
				return
			}
		}
	}
}

// errParked reports a pack that is needed for a repair.
var errParked = errors.New("a repair has put the pack there, and was interrupted: repeat it (ctl_backups verify --repair)")

// eraseParked removes what a repair has left of packs that collection has removed.
func (p *pass) eraseParked(ctx context.Context) error {
	for key, err := range Parked(ctx, p.store, p.opt.Erase) {
		if err != nil {
			return err
		}
		pack := strings.TrimPrefix(key, asidePrefix)
		_, err = p.store.Stat(ctx, pack)
		if err == nil {
			continue // it was counted
		}
		if !errors.Is(err, objstore.ErrNotExist) {
			return err
		}
		removed, err := p.removedWhole(ctx, pack)
		if err == nil && !removed {
			err = errParked
		} else if err == nil {
			err = p.eraseAll(ctx, key)
		}
		if errors.Is(err, errParked) || errors.Is(err, objstore.ErrDenied) {
			p.out.Erasing++
			p.out.keep(key, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// removedWhole reports whether collection has removed a pack: its note shows that other packs have
// every entry that is needed. A damaged note shows nothing, and must not stop the collection: perhaps no backup names the
// pack any more, so that no repair mends the note.
func (p *pass) removedWhole(ctx context.Context, key string) (bool, error) {
	m, _, err := history.ReadMoved(ctx, p.store, key)
	if errors.Is(err, objstore.ErrNotExist) || err != nil && !failed(err) {
		return false, nil
	}
	return err == nil && m.NothingLost(), err
}
