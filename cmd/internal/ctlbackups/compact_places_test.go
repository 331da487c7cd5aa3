package ctlbackups

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// nightly runs compact -A, and looks at the places of all backups.
func nightly(t *testing.T, w *tooltest.World, conf string, argv ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(conf), nil }
	c := &command{ctx: t.Context(), open: open, now: w.Now, clock: func() time.Time { return w.Now }, in: strings.NewReader(""), out: &out, err: &errs, placesNow: true}
	if err := c.run(append([]string{"compact", "-A"}, argv...)); err != nil || errs.Len() > 0 {
		t.Fatalf("%v: %s%s", err, &out, &errs)
	}
	return out.String()
}

// When a rewritten pack has been removed, compact -A puts the checkpoints that name it again. No backup
// costs a request for that in the nights before and after.
func TestCompactPlaces(t *testing.T) {
	const conf = "backup_retention: 10d\nbackup_tripwire: no\n"
	w := tooltest.New(t, "default")
	box := tooltest.NewMailbox("user.bob")
	deliver := func() {
		box.Deliver(tooltest.Mail(fmt.Sprint("message ", w.Now), "carol@example.org", 300), w.Now)
		w.Sync(box)
		w.Now = w.Now.AddDate(0, 0, 1)
	}
	for range 3 {
		deliver()
	}
	for range 4 {
		w.Now = w.Now.AddDate(0, 0, 4)
		deliver()
		nightly(t, w, conf)
	}
	first := w.Stores[0].Keys("checkpoints/")
	packs := w.Stores[0].Keys("packs/")
	if len(packs) == 0 {
		t.Fatalf("checkpoints %v, packs %v", first, packs)
	}
	list := &history.Condemned{Version: history.Version}
	for _, key := range packs {
		list.Packs = append(list.Packs, history.CondemnedPack{Key: key, Since: w.Now})
	}
	b, err := list.Append(nil)
	if err == nil {
		_, err = w.Stores[0].Put(t.Context(), history.CondemnedKey, bytes.NewReader(b), objstore.PutOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for range 4 {
		w.Now = w.Now.AddDate(0, 0, 1).Add(3600e9)
		for line := range strings.Lines(nightly(t, w, conf)) {
			if strings.HasPrefix(line, "places ") {
				lines = append(lines, line)
			}
		}
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "places default: 1 checkpoint of 1 backup put again, with ") {
		t.Errorf("%q", lines)
	}
	for _, key := range packs {
		if note, _ := history.MovedKey(key); w.Stores[0].Bytes(note) == nil {
			t.Errorf("%s has no note", key)
		}
	}
}
