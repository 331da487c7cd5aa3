package partitions_test

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
)

// Two clients learn that the same messages are missing, and one sends them first. Those of the
// other are not stored again.
func TestStageLooksAgain(t *testing.T) {
	t.Parallel()
	store := newStore()
	h := newHostWith(t, func(o *partitions.Options) { o.PackSize, o.InlineLimit = 64<<10, 64<<10 }, store)
	first, second := h.set.NewStage(), h.set.NewStage()
	defer first.Drop()
	defer second.Drop()
	var guids []cyrus.GUID
	var bodies [][]byte
	for i := range 600 {
		b := fmt.Appendf(nil, "Message-ID: <%d>\r\n\r\n%s", i, noise(uint64(i+1), 5000))
		bodies, guids = append(bodies, b), append(guids, sha1.Sum(b))
	}
	send := func(s *partitions.Stage) {
		for i, b := range bodies {
			if err := s.Add(t.Context(), nil, true, guids[i], int64(len(b)), bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
		}
	}
	missing := func(s *partitions.Stage) int {
		guids, err := s.Lacking(t.Context(), nil, true, guids)
		if err != nil {
			t.Fatal(err)
		}
		return len(guids)
	}
	if n := missing(first) + missing(second); n != 2*len(guids) {
		t.Fatalf("%d messages are missing, want %d", n, 2*len(guids))
	}
	send(first)
	for end := time.Now().Add(time.Minute); missing(h.set.NewStage()) > 100; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the packs were not put")
		}
	}
	before := len(store.Keys("packs/"))
	send(second)
	if after := len(store.Keys("packs/")); after-before > before/2 {
		t.Errorf("%d packs became %d: messages were stored twice", before, after)
	}
}
