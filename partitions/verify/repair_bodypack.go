package verify

import (
	"context"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// add adds a chunk to the new pack.
func (s *bodySearch) add(ctx context.Context, p history.Place, body []byte) error {
	c, taken := s.in[p.Entry]
	if taken && c == p.Chunk {
		return nil
	}
	// Two bodies with the same GUID cannot share a pack.
	if taken || int64(s.w.Len()) >= s.r.o.PackSize {
		if err := s.flushPack(ctx); err != nil {
			return err
		}
	}
	if err := s.w.Add(p.Entry, body); err != nil {
		return err
	}
	put(&s.in, p.Entry, p.Chunk)
	s.places = append(s.places, p)
	return nil
}

// flushPack writes the pack, and sets its name in the places.
func (s *bodySearch) flushPack(ctx context.Context) error {
	if len(s.in) == 0 {
		return nil
	}
	key, err := s.r.putPack(ctx, s.w, "", nil)
	if err != nil {
		return err
	}
	for i := range s.places {
		if s.places[i].Object == "" {
			s.places[i].Object = key
		}
	}
	s.w, s.in = pack.NewWriter(nil, s.r.o.Pack), nil
	return nil
}

// flush writes the pack, and a commit with the new places of the messages.
func (s *bodySearch) flush(ctx context.Context) error {
	if err := s.flushPack(ctx); err != nil || len(s.found) == 0 {
		return err
	}
	if _, err := s.r.commit(ctx, s.places, &history.MessagesEvent{Messages: s.found}); err != nil {
		return err
	}
	for i, m := range s.found {
		s.r.report(Repaired, "message "+m.GUID.String(), "copied from %s", s.from[i])
	}
	s.found, s.from, s.places = nil, nil, nil
	return nil
}
