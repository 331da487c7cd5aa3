package collection

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// changeRetired makes one step of all notes, and puts the list.
func (p *pass) changeRetired(ctx context.Context, do *sorted) (t *turn, err error) {
	var last error
	for range listTries {
		put := false
		if t, put, last = p.tryRetired(ctx, do); last == nil && (put || p.opt.DryRun || !t.changed) {
			return t, nil
		}
		if last != nil && !mayRepeat(last) {
			return nil, last
		}
	}
	return nil, fmt.Errorf("put %s %d times: %w", history.RetiredKey, listTries, last)
}

// tryRetired makes one step with the list as it is. put reports whether the new list is there.
func (p *pass) tryRetired(ctx context.Context, do *sorted) (t *turn, put bool, err error) {
	until := p.opt.Lock.Now().Add(removeSoon) // before the time that the list shows
	now, err := p.certain(ctx)
	if err != nil {
		return nil, false, err
	}
	from, err := history.OpenRetired(ctx, p.store)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := history.NewRetiredFile(from.Lost)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	t = &turn{began: p.began, now: now.UTC(), age: p.opt.NoteAge, most: p.opt.MostNotes, until: until, room: (p.opt.MostList - from.Info.Size) / retiredLine,
		removable: from.Info.ETag != "" && from.Info.Modified.Add(listAge).Before(p.began)}
	if err := t.all(from.Notes(), p.unneeded(do), to.Add); err != nil {
		return nil, false, err
	}
	body, err := to.Body()
	if err != nil || !t.changed || p.opt.DryRun {
		return t, false, err
	}
	if err := p.lease.Check(); err != nil {
		return nil, false, err
	}
	_, err = p.store.Put(ctx, history.RetiredKey, body, objstore.PutOptions{IfAbsent: from.Info.ETag == "", IfMatch: from.Info.ETag})
	if err != nil && mayRepeat(err) {
		if same, serr := hasBytes(ctx, p.store, history.RetiredKey, body); serr == nil && same {
			err = nil
		}
	}
	return t, err == nil, err
}

// all decides about the lines of a list, and about notes that it lacks. Both are in order.
func (t *turn) all(lines iter.Seq2[history.RetiredNote, error], notes iter.Seq2[unneeded, error], add func(history.RetiredNote) error) error {
	next, stop := iter.Pull2(notes)
	defer stop()
	note, err, more := next()
	one := func(n history.RetiredNote, u *unneeded) error {
		is := t.decide(n, u)
		if n == (history.RetiredNote{Pack: n.Pack}) && is != n {
			if t.room <= 0 {
				return nil // its note stays: no line that is there makes room
			}
			t.room--
		}
		t.changed = t.changed || is != n
		return add(is)
	}
	alone := func() error {
		err := one(history.RetiredNote{Pack: history.PackID(note.pack())}, &note)
		if err == nil {
			note, err, more = next()
		}
		return err
	}
	for line, lerr := range lines {
		for err == nil && lerr == nil && more && comparePacks(note.pack(), Pack(line.Pack)) < 0 {
			err = alone()
		}
		if err = errors.Join(lerr, err); err != nil {
			return err
		}
		if more && note.pack() == Pack(line.Pack) {
			if err = one(line, &note); err == nil {
				note, err, more = next()
			}
		} else {
			err = one(line, nil)
		}
	}
	for err == nil && more {
		err = alone()
	}
	return err
}

// hasBytes reports whether an object has these bytes.
func hasBytes(ctx context.Context, s objstore.Store, key string, want objstore.Body) (same bool, err error) {
	obj, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, obj.Close()) }()
	is, was := sha256.New(), sha256.New()
	if _, err := io.Copy(is, obj); err != nil {
		return false, err
	}
	if _, err := io.Copy(was, io.NewSectionReader(want, 0, want.Size())); err != nil {
		return false, err
	}
	return bytes.Equal(is.Sum(nil), was.Sum(nil)), nil
}
