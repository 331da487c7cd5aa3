package partitions_test

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
)

// A message costs no memory on its way to a pack, beside its place in the list of staged messages.
// Only the index takes some, for a message that the client sends unasked.
func TestStageAllocations(t *testing.T) {
	t.Run("reserved", func(t *testing.T) { stageAllocations(t, true, 1) })
	t.Run("unasked", func(t *testing.T) { stageAllocations(t, false, 16) })
}

func stageAllocations(t *testing.T, reserve bool, most float64) {
	const count = 1200 // several times what a commit takes inline
	h := newHostWith(t, func(*partitions.Options) {}, newStore())
	stage := h.set.NewStage()
	defer stage.Drop()
	body := bytes.Repeat([]byte("0123456789abcde\n"), 5000/16)
	var guids []cyrus.GUID
	var bodies [][]byte
	for i := range count {
		b := fmt.Appendf(nil, "Message-ID: <%d>\r\n\r\n%s", i, body)
		bodies, guids = append(bodies, b), append(guids, sha1.Sum(b))
	}
	if reserve {
		if _, err := stage.Lacking(t.Context(), nil, true, guids); err != nil {
			t.Fatal(err)
		}
	}
	next := 0
	r := bytes.NewReader(nil)
	add := func() {
		r.Reset(bodies[next])
		if err := stage.Add(t.Context(), nil, true, guids[next], int64(len(bodies[next])), r); err != nil {
			t.Fatal(err)
		}
		next++
	}
	for range count / 2 {
		add()
	}
	if n := testing.AllocsPerRun(count/2-2, add); n > most {
		t.Errorf("%v allocations for each message, want at most %v", n, most)
	} else {
		t.Logf("%v allocations for each message", n)
	}
}
