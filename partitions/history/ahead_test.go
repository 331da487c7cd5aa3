package history

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// While a commit is processed, the next ones are requested, but not all of them, and none
// after the last one of the loop.
func TestReadAhead(t *testing.T) {
	w := newWriter(t)
	for range 40 {
		w.commit()
	}
	s := &slowStore{Store: w.store}
	for c, err := range (&Log{Store: s, Backup: anne}).Commits(t.Context(), 1, 30) {
		if err != nil {
			t.Fatal(err)
		}
		n := int64(c.Header().Number)
		if asked := s.asked.Load(); asked < n || asked > n+aheadCommits {
			t.Errorf("at commit %d there were %d requests", n, asked)
		}
	}
	if n := s.peak.Load(); n < 2 || n > aheadCommits {
		t.Errorf("%d requests at once", n)
	}
	if asked := s.asked.Load(); asked != 30 {
		t.Errorf("%d requests for 30 commits", asked)
	}
	for _, err := range (&Log{Store: s, Backup: anne}).Commits(t.Context(), 1, 30) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n := s.running.Load(); n != 0 {
		t.Errorf("%d requests are running after the loop", n)
	}
}

// slowStore delays and counts requests.
type slowStore struct {
	objstore.Store
	asked, running, peak atomic.Int64
}

func (s *slowStore) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	s.asked.Add(1)
	now := s.running.Add(1)
	defer s.running.Add(-1)
	for m := s.peak.Load(); now > m && !s.peak.CompareAndSwap(m, now); m = s.peak.Load() {
	}
	time.Sleep(2 * time.Millisecond)
	return s.Store.Get(ctx, key, off, n)
}

// The rest of a large commit is read when it is needed.
func TestReadAheadOfLargeCommit(t *testing.T) {
	w := newWriter(t)
	w.commit()
	large := text(7, 2*aheadBytes)
	for i := range large {
		large[i] = byte(i*i>>3 ^ i*31) // does not compress
	}
	m := message(large)
	w.commitWith(func(b *Builder) {
		b.Place(Place{Chunk: m.Chunks[0], Object: ".", Entry: m.GUID.String() + ".eml"})
		b.Inline(m.GUID.String()+".eml", large)
	}, &MessagesEvent{Messages: []Message{m}})
	w.commitWith(func(*Builder) {}, &UnquotaEvent{Root: strings.Repeat("x", 3*aheadBytes)})
	w.commit()
	var got []uint64
	for c, err := range w.log().Commits(t.Context(), 1, 4) {
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range c.Events() {
			if err != nil {
				t.Fatal(err)
			}
		}
		got = append(got, c.Header().Number)
	}
	if len(got) != 4 {
		t.Errorf("commits %v", got)
	}
	mem := w.load(Moment{})
	defer mem.Close()
	if s, err := mem.Message(m.GUID); err != nil || s == nil {
		t.Errorf("the message: %v, %v", s, err)
	}
}
