package cyrbackup

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A message that was sent twice is one message.
func TestMessageSentTwice(t *testing.T) {
	w := story(t)
	before, err := tool(t, w, "anne", "list", "messages")
	if err != nil {
		t.Fatal(before, err)
	}
	f, err := w.Bucket("").Find(t.Context(), cli.ByUser, "anne")
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Load(t.Context(), history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var again []history.Message
	for msg, err := range m.Messages() {
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, msg.Message)
	}
	tip := m.Tip()
	bld := history.NewBuilder(history.Header{Version: history.Version, Backup: f.Path, Number: tip.Number + 1, Prev: tip.Hash,
		Time: tip.Time, Clock: tip.Time, Random: history.NewRandom()}, pack.Options{})
	if err := bld.Event(&history.MessagesEvent{Messages: again}); err != nil {
		t.Fatal(err)
	}
	obj, _, err := bld.Finish(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Partition.Store.Put(t.Context(), history.LogKey(f.Path, tip.Number+1), bytes.NewReader(obj), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if after, err := tool(t, w, "anne", "list", "messages"); err != nil || after != before {
		t.Errorf("%v: %s", err, after)
	}
	out, err := tool(t, w, "anne", "json", "messages")
	if err != nil {
		t.Fatal(out, err)
	}
	guids := strings.Fields(before)
	slices.Sort(guids)
	if n := strings.Count(out, `"guid"`); n != len(guids) || len(slices.Compact(guids)) != n {
		t.Errorf("%d messages in JSON, %d listed", n, len(guids))
	}
}

// A header field that just fills a buffer is not the end of the header.
func TestHeaderWithALongLine(t *testing.T) {
	w := tooltest.New(t, "default")
	inbox := tooltest.NewMailbox("user.anne")
	r := inbox.Deliver([]byte("X-Long: "+strings.Repeat("x", 4096-8)+"\r\nSubject: behind\r\n\r\nbody\r\n"), w.Now)
	w.Sync(inbox)
	if out, err := tool(t, w, "anne", "show", "messages", r.GUID.String()); err != nil || !strings.Contains(out, "Subject: behind") || strings.Contains(out, "body") {
		t.Errorf("%v: %.200s…", err, out[max(0, len(out)-200):])
	}
}
