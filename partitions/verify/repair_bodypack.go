package verify

import (
	"context"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// add puts a chunk into the new pack.
func (s *bodySearch) add(ctx context.Context, p history.Place, body []byte) error {
	c, taken := s.in[p.Entry]
	if taken && c == p.Chunk {
		return nil
	}
	// Two bodies with one GUID cannot share a pack.
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

// flushPack puts the pack, and notes its name in the places.
func (s *bodySearch) flushPack(ctx context.Context) error {
	if len(s.in) == 0 {
		return nil
	}
	key, err := s.r.putPack(ctx, s.w)
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

// flush puts the pack, and the commit that says where the messages are now.
func (s *bodySearch) flush(ctx context.Context) error {
	if err := s.flushPack(ctx); err != nil || len(s.news) == 0 {
		return err
	}
	if _, err := s.r.commit(ctx, s.places, &history.MessagesEvent{Messages: s.news}); err != nil {
		return err
	}
	for i, m := range s.news {
		s.r.report(Repaired, "message "+m.GUID.String(), "copied from %s", s.from[i])
	}
	s.news, s.from, s.places = nil, nil, nil
	return nil
}
