package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// read reads a chunk, and returns the object that contains it.
func (s *bodySearch) read(ctx context.Context, o *history.Objects, p history.Place) (object string, body []byte, err error) {
	object, e, err := o.Entry(ctx, p)
	if err != nil {
		return p.Object, nil, err
	}
	frames, err := o.Frames(ctx, object, e.Off, e.Len)
	if err != nil {
		return object, nil, err
	}
	defer frames.Close()
	body, err = pack.ReadBody(e, frames)
	if err == nil && history.ChunkID(sha256.Sum256(body)) != p.Chunk {
		err = fmt.Errorf("%s: %w: entry %s has a different SHA-256", object, history.ErrCorrupt, p.Entry)
	}
	return object, body, err
}

// readAny reads a chunk from the first readable of its places. It returns nil if there is
// none.
func (s *bodySearch) readAny(ctx context.Context, o *history.Objects, places []history.Place) ([]byte, *history.Place, error) {
	for _, p := range places {
		_, body, err := s.read(ctx, o, p)
		if err == nil {
			return body, &p, nil
		}
		if !history.IsDamage(err) {
			return nil, nil, err
		}
	}
	return nil, nil, nil
}

// damagedPacks adds the packs to packs that have the chunk but cannot return it.
func (s *bodySearch) damagedPacks(ctx context.Context, c history.ChunkID, packs map[string]bool) error {
	places, err := s.m.Places(c)
	if err != nil {
		return err
	}
	for _, p := range places {
		at, _, err := s.read(ctx, s.objects, p)
		if err != nil && !history.IsDamage(err) {
			return err
		}
		if err != nil && strings.HasPrefix(at, "packs/") && !errors.Is(err, objstore.ErrNotExist) && !errors.Is(err, history.ErrNoPlace) {
			packs[at] = true
		}
	}
	return nil
}
