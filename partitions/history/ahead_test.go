package history

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// While one commit is looked at the next are on their way, but not all of them, and none
// behind the last that is wanted.
func TestCommitsAreReadAhead(t *testing.T) {
	w := newWriter(t)
	for range 40 {
		w.commit()
	}
	s := &waits{Store: w.store}
	for c, err := range (&Log{Store: s, Backup: anne}).Commits(t.Context(), 1, 30) {
		if err != nil {
			t.Fatal(err)
		}
		n := int64(c.Header().Number)
		if asked := s.asked.Load(); asked < n || asked > n+aheadCommits {
			t.Errorf("at commit %d there were %d requests", n, asked)
		}
	}
	if most := s.most.Load(); most < 2 || most > aheadCommits {
		t.Errorf("%d requests at once", most)
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
	if under := s.under.Load(); under != 0 {
		t.Errorf("%d requests go on after the loop was left", under)
	}
}

// waits is a store that takes its time, and counts.
type waits struct {
	objstore.Store
	asked, under, most atomic.Int64
}

func (s *waits) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	s.asked.Add(1)
	under := s.under.Add(1)
	defer s.under.Add(-1)
	for m := s.most.Load(); under > m && !s.most.CompareAndSwap(m, under); m = s.most.Load() {
	}
	time.Sleep(2 * time.Millisecond)
	return s.Store.Get(ctx, key, off, n)
}

// Of a large commit the rest is read when its turn comes.
func TestALargeCommitIsReadAheadInPart(t *testing.T) {
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
