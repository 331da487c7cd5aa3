package restore_test

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
	"github.com/cyrusbackup/backupd/objstore"
)

const (
	frameSize   = 256 << 10 // roughly, of small mail (docs/design.md 5)
	mailboxes   = 3
	perMailbox  = 700
	messageSize = 4 << 10
)

// noisy returns a message that hardly compresses.
func noisy(rng *rand.Rand, size int) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte('!' + rng.IntN(90))
	}
	return "Subject: noise\r\n\r\n" + string(b)
}

// large is a backup of several mailboxes of small mail, and a large message.
func large(t *testing.T) (*restoretest.Backup, int64) {
	b, rng, size := restoretest.New(t, "anne"), rand.New(rand.NewPCG(1, 2)), int64(0)
	for n := range mailboxes {
		box := b.Box(fmt.Sprintf("user.anne.m%d", n))
		for range perMailbox {
			size += int64(box.Deliver(noisy(rng, messageSize), 1600000000).Size)
		}
		b.Sync()
	}
	b.Boxes[1].Deliver(noisy(rng, 6<<20), 1600000000)
	b.Sync()
	return b, size + 6<<20
}

// bodies reads the folders of a selection in the order of their messages.
func bodies(t *testing.T, src *restore.Source) {
	t.Helper()
	sel, err := src.Select(restore.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sel.Folders {
		refs := f.Messages
		for l := range src.LoadMessages(t.Context(), func(yield func(*restore.Message) bool) {
			for _, ref := range f.Messages {
				if m, err := src.Message(ref); err != nil || !yield(m) {
					return
				}
			}
		}) {
			if l.Err != nil {
				t.Fatal(l.Err)
			}
			got, err := io.ReadAll(l.Body)
			if err != nil || l.UID != refs[0].UID || l.GUID != cyrus.GUID(sha1.Sum(got)) {
				t.Fatalf("%s: uid %d, want %d; %d bytes, %v", f.Name, l.UID, refs[0].UID, len(got), err)
			}
			refs = refs[1:]
			if err := l.Body.Close(); err != nil {
				t.Error(err)
			}
		}
		if len(refs) > 0 {
			t.Fatalf("%s: %d messages were not read", f.Name, len(refs))
		}
	}
}

// The order in which the test's session receives messages differs from that of their uids, so
// that neighbours in the mailbox are in different frames.
func TestEachFrameIsReadAndDecodedOnce(t *testing.T) {
	t.Parallel()
	b, size := large(t)
	src, count := b.Counted()
	bodies(t, src)
	stored, objects := b.Stored()
	if most := size/frameSize*2 + int64(objects)*2; src.Decoded() > most || src.Decoded() == 0 {
		t.Errorf("%d frames decoded of %d bytes of mail in %d objects, want at most %d", src.Decoded(), size, objects, most)
	}
	got := count.Snapshot()["get"]
	t.Logf("%d frames, %d requests, %d bytes of %d in %d objects", src.Decoded(), got.Requests, got.Bytes, stored, objects)
	// The directory of an object is read in addition, and the log begins with a look at its commits.
	if most := stored*11/10 + int64(objects)*(64<<10); got.Bytes > most {
		t.Errorf("%d bytes read of %d objects of %d bytes, want at most %d", got.Bytes, objects, stored, most)
	}
	if most := objects*2 + int(stored>>20)*2; got.Requests > most {
		t.Errorf("%d requests for %d objects of %d bytes, want at most %d", got.Requests, objects, stored, most)
	}
}

// A reader that stops early leaves nothing behind, and a cancelled one ends.
func TestLoadMessagesStops(t *testing.T) {
	t.Parallel()
	b, _ := large(t)
	src := b.Source(time.Time{})
	sel, err := src.Select(restore.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, stop := range []int{0, 1, 65, 300} {
		n := 0
		for l := range src.LoadAll(ctx, guids(t, src, sel.Folders[0])) {
			if l.Err != nil || l.Body.Close() != nil {
				t.Fatal(l.Err)
			}
			if n++; n > stop {
				break
			}
		}
	}
	n := 0
	for l := range src.LoadAll(ctx, guids(t, src, sel.Folders[1])) {
		if l.Err != nil && !errors.Is(l.Err, context.Canceled) {
			t.Fatal(l.Err)
		}
		if l.Err == nil {
			n++
		}
		if n == 100 {
			cancel()
		}
	}
	if n >= perMailbox {
		t.Errorf("%d messages, though the context was cancelled", n)
	}
}

// Damage of one frame costs only its messages, and an unreachable store ends the restore.
func TestLoadMessagesReportsErrors(t *testing.T) {
	t.Parallel()
	b, _ := large(t)
	src := b.Source(time.Time{})
	sel, err := src.Select(restore.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	list := guids(t, src, sel.Folders[0])
	b.Fault(func(string, string) error { return errDown })
	for l := range src.LoadAll(t.Context(), list) {
		if !errors.Is(l.Err, errDown) {
			t.Fatalf("got %v, want %v", l.Err, errDown)
		}
		break
	}
	b.Fault(nil)
	for l := range src.LoadAll(t.Context(), list) {
		if l.Err != nil {
			t.Fatalf("after the fault: %v", l.Err)
		}
	}
}

var errDown = errors.New("the store is down")

func guids(t *testing.T, src *restore.Source, f *restore.Folder) (out []cyrus.GUID) {
	t.Helper()
	for _, ref := range f.Messages {
		m, err := src.Message(ref)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m.GUID)
	}
	return out
}

// Each request to an unreachable store takes half a minute until its retries end. There must be
// few of them until the restore ends.
func TestLoadMessagesEndsSoon(t *testing.T) {
	t.Parallel()
	b, _ := large(t)
	src := b.Source(time.Time{})
	sel, err := src.Select(restore.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	list := guids(t, src, sel.Folders[0])
	var requests atomic.Int32
	b.Fault(func(op, key string) error {
		requests.Add(1)
		return &objstore.Error{Op: op, Key: key, Err: errDown, Temporary: true}
	})
	for l := range src.LoadAll(t.Context(), list) {
		if !errors.Is(l.Err, errDown) || !l.Ends() {
			t.Fatalf("got %v, want %v", l.Err, errDown)
		}
		break
	}
	if n := requests.Load(); n > 8 {
		t.Errorf("%d requests to a store that is down", n)
	}
}
