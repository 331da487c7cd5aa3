package cyrbackup

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// large makes a backup with a large mailbox and many small ones, a checkpoint, and a short
// log after it.
func large(t *testing.T) *tooltest.World {
	w := tooltest.New(t, "default")
	inbox := tooltest.NewMailbox("user.anne")
	for i := range 10_000 {
		inbox.Deliver(tooltest.Mail(fmt.Sprint("message ", i), "bob@example.org", 10), w.Now)
	}
	boxes := []*tooltest.Mailbox{inbox}
	for i := range 30 {
		b := tooltest.NewMailbox(fmt.Sprintf("user.anne.box%02d", i))
		b.Deliver(tooltest.Mail(fmt.Sprint("small ", i), "bob@example.org", 10), w.Now)
		boxes = append(boxes, b)
	}
	w.Sync(boxes...)
	m, err := history.Load(t.Context(), w.Stores[0], "user/anne", history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
		t.Fatal(err)
	}
	boxes[1].Deliver(tooltest.Mail("late", "bob@example.org", 10), w.Now)
	w.Sync(boxes[1])
	w.Do(func(s *session.Session) error { return s.ApplySub(t.Context(), "anne", "user.anne.box03", true) })
	return w
}

// reads are the bytes and requests of a command, by the kind of object.
type reads struct {
	mu    sync.Mutex
	bytes map[string]int64
	gets  int
}

func (r *reads) add(e observe.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Op == "get" {
		r.gets++
	}
	kind, _, _ := strings.Cut(strings.TrimPrefix(e.Key, "backups/user/anne/"), "/")
	r.bytes[kind] += e.Bytes
}

// readsOf runs a command and returns what it has read.
func readsOf(t *testing.T, w *tooltest.World, argv string) *reads {
	t.Helper()
	r := &reads{bytes: map[string]int64{}}
	parts := w.Parts[0]
	parts.Store = observe.New(w.Stores[0], observe.Hooks{End: r.add})
	conf := w.Bucket("unixhierarchysep: yes\n").Conf
	open := func(context.Context, string, string) (*cli.Bucket, error) {
		return cli.NewBucket(conf, append(w.Parts[:0:0], parts)), nil
	}
	var out, errs bytes.Buffer
	if err := run(t.Context(), open, strings.Fields(argv), &out, &errs); err != nil || out.Len() == 0 {
		t.Fatal(argv, err, errs.String())
	}
	return r
}

// A command reads what it needs: blocks of records and messages only if it prints them, and
// of one mailbox only the blocks of that mailbox.
func TestReads(t *testing.T) {
	w := large(t)
	everything := readsOf(t, w, "anne json state").bytes
	for _, tt := range []struct {
		argv           string
		records, packs int64 // most bytes
		gets           int
		rest           int64 // most bytes of anything else
	}{
		{"anne list mailboxes", 0, 0, 6, 64 << 10},
		{"anne list messages", everything["records"] * 5 / 6, 0, 14, 64 << 10},
		{"anne show mailboxes user/anne/box07", 300 << 10, 0, 12, 64 << 10},
		{"anne show chunks 33", 0, 0, 8, 64 << 10},
	} {
		r := readsOf(t, w, tt.argv)
		rest := int64(0)
		for kind, n := range r.bytes {
			if kind != "records" && kind != "packs" {
				rest += n
			}
		}
		if r.bytes["records"] > tt.records || r.bytes["packs"] > tt.packs || r.gets > tt.gets || rest > tt.rest {
			t.Errorf("%s: %d gets, %v bytes; everything: %v", tt.argv, r.gets, r.bytes, everything)
		}
	}
}
