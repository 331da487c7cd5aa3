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
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// nightly runs compact -A, and looks at the places of all backups. Nothing fails.
func nightly(t *testing.T, w *tooltest.World, conf string, argv ...string) string {
	t.Helper()
	out, errs, err := night(t, w, conf, argv...)
	if err != nil || errs != "" {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	return out
}

func night(t *testing.T, w *tooltest.World, conf string, argv ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(conf), nil }
	c := &command{ctx: t.Context(), open: open, now: w.Now, clock: func() time.Time { return w.Now }, in: strings.NewReader(""), out: &out, err: &errs, placesNow: true}
	err = c.run(append([]string{"compact", "-A"}, argv...))
	return out.String(), errs.String(), err
}

// When a rewritten pack has been removed, compact -A puts the checkpoints that name it again. No backup
// costs a request for that in the nights before and after.
func TestCompactPlaces(t *testing.T) {
	w, packs := rewritten(t)
	var lines []string
	for range 4 {
		w.Now = w.Now.AddDate(0, 0, 1).Add(3600e9)
		lines = append(lines, ofPlaces(nightly(t, w, ofTenDays))...)
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

// While an erasure of history may be open, no checkpoint is put again: the end of the erasure removes blocks that nothing
// names, and would not leave the former ones to readers.
func TestCompactPlacesBesideErasure(t *testing.T) {
	w, _ := rewritten(t)
	record := repository.ErasureKey(strings.Repeat("5e", 16))
	for range 4 {
		w.Now = w.Now.AddDate(0, 0, 1).Add(3600e9)
		// A damaged record may be about any backup.
		if _, err := w.Stores[0].Put(t.Context(), record, strings.NewReader("damaged"), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		out, _, err := night(t, w, ofTenDays)
		if lines := ofPlaces(out); err == nil || len(lines) > 0 {
			t.Errorf("%v, %q", err, lines)
		}
	}
	if err := w.Stores[0].Delete(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	if lines := ofPlaces(nightly(t, w, ofTenDays)); len(lines) != 1 {
		t.Errorf("without the record: %q", lines)
	}
}

func ofPlaces(out string) (lines []string) {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "places ") {
			lines = append(lines, line)
		}
	}
	return lines
}

const ofTenDays = "backup_retention: 10d\nbackup_tripwire: no\n"

// rewritten returns a partition whose packs will be rewritten in the next nights.
func rewritten(t *testing.T) (w *tooltest.World, packs []string) {
	t.Helper()
	w = tooltest.New(t, "default")
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
		nightly(t, w, ofTenDays)
	}
	first := w.Stores[0].Keys("checkpoints/")
	packs = w.Stores[0].Keys("packs/")
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
	return w, packs
}
