package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A damaged pack is replaced for everybody: what can be read of it goes into a new pack, the
// note in moved/ leads there, and then the damaged object goes. So no writer that asks for
// it takes it for sound, and nobody loses what could still be read.

// mendPack repairs one damaged pack.
func (r *repairer) mendPack(ctx context.Context, key string) error {
	if back, err := r.fromHold(ctx, key); back || err != nil {
		return err
	}
	body, etag, drop, err := repository.Hold(ctx, r.store, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer drop()
	is, err := packOf(body)
	if err != nil || is == key {
		return err // its bytes are as they were put: something else is wrong
	}
	swapped, known, err := r.misplaced(ctx, key, is, body)
	if err != nil || swapped {
		return err
	}
	if !known {
		if err := r.rewrite(ctx, key, body); err != nil {
			return err
		}
	}
	// It may have been put again meanwhile, whole.
	now, err := r.store.Stat(ctx, key)
	if err != nil || now.ETag != etag {
		return ignoreAbsent(err)
	}
	return r.store.Delete(ctx, key)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	return err
}

// packOf is the key that a pack with these bytes has.
func packOf(body objstore.Body) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return "", err
	}
	return history.PackKey([32]byte(h.Sum(nil))), nil
}

// misplaced handles bytes that are those of another pack, which lie under the wrong name.
// known: that pack is in its place, or is again. swapped: and so is the one of this name.
func (r *repairer) misplaced(ctx context.Context, key, is string, body objstore.Body) (swapped, known bool, err error) {
	other, etag, drop, err := repository.Hold(ctx, r.store, is)
	if errors.Is(err, objstore.ErrNotExist) {
		if history.CheckObject(ctx, r.store, key) != nil {
			return false, false, nil // no pack, but this one with other bytes
		}
		return false, true, r.putBack(ctx, is, objstore.PutOptions{IfAbsent: true}, body)
	}
	if err != nil {
		return false, false, err
	}
	defer drop()
	there, err := packOf(other)
	if err != nil || there == is {
		return false, err == nil, err
	}
	if there != key {
		return false, true, r.putBack(ctx, is, objstore.PutOptions{IfMatch: etag}, body)
	}
	// Each has the bytes of the other. One of them waits in a third place, so that both are
	// somewhere at any time.
	if _, err := r.store.Put(ctx, holdKey(key), other, objstore.PutOptions{}); err != nil {
		return false, false, err
	}
	if err := r.putBack(ctx, is, objstore.PutOptions{IfMatch: etag}, body); err != nil {
		return false, false, err
	}
	swapped, err = r.fromHold(ctx, key)
	return swapped, true, err
}

// holdKey is where a pack waits while its own place is occupied.
func holdKey(key string) string { return repository.AsidePrefix + key }

// fromHold puts a pack into its place that waits for that.
func (r *repairer) fromHold(ctx context.Context, key string) (bool, error) {
	body, _, drop, err := repository.Hold(ctx, r.store, holdKey(key))
	if err != nil {
		return false, ignoreAbsent(err)
	}
	defer drop()
	if is, err := packOf(body); err != nil || is != key {
		return false, err
	}
	if err := r.putBack(ctx, key, objstore.PutOptions{}, body); err != nil {
		return false, err
	}
	return true, r.store.Delete(ctx, holdKey(key))
}

func (r *repairer) putBack(ctx context.Context, key string, o objstore.PutOptions, body objstore.Body) error {
	_, err := r.store.Put(ctx, key, body, o)
	if err == nil {
		r.report(Repaired, key, "put again: its bytes were under another name")
	}
	return err
}

// rewrite copies what can be read of a pack into another one.
func (r *repairer) rewrite(ctx context.Context, key string, body objstore.Body) error {
	w := pack.NewWriter(nil, r.o.Pack)
	var kept []string
	lost, err := history.Salvage(body, body.Size(), func(name string, b []byte) error {
		kept = append(kept, name)
		return w.Add(name, b)
	})
	if err != nil {
		return err
	}
	if len(kept) == 0 {
		r.report(Repaired, key, "removed: nothing in it can be read")
		return nil
	}
	now, err := r.putPack(ctx, w)
	if err != nil {
		return err
	}
	at, err := r.lock.Now(ctx)
	if err != nil {
		return err
	}
	if err := repository.NoteMoved(ctx, r.store, false, at, key, kept, now); err != nil {
		return err
	}
	text := ""
	if len(lost) > 0 {
		text = fmt.Sprintf("; %d cannot be read", len(lost))
	}
	r.report(Repaired, key, "%d entries of it are in %s now%s", len(kept), now, text)
	return nil
}

// putPack puts a pack under its name.
func (r *repairer) putPack(ctx context.Context, w *pack.Writer) (key string, err error) {
	obj, _, err := w.Finish()
	if err != nil {
		return "", err
	}
	key = history.PackKey(sha256.Sum256(obj))
	_, err = r.store.Put(ctx, key, bytes.NewReader(obj), objstore.PutOptions{})
	return key, err
}
