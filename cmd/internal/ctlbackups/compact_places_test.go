package ctlbackups

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
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

// A small host puts a small pack each night. When retention has removed the log that names them, they
// are merged, and the checkpoints get the new places: each kept moment is restored with a few requests, and
// without the notes about the merged packs.
func TestCompactMergesSmallPacks(t *testing.T) {
	const days, conf = 70, "backup_retention: 5d\nbackup_keep_weekly: 3\nbackup_tripwire: no\n"
	w := tooltest.New(t, "default")
	boxes := []*tooltest.Mailbox{tooltest.NewMailbox("user.bob"), tooltest.NewMailbox("user.carl")}
	for day := range days {
		for _, box := range boxes {
			box.Deliver(tooltest.Mail(fmt.Sprint(box.Name, " message ", day), "carol@example.org", 300), w.Now)
			w.Sync(box)
		}
		w.Now = w.Now.Add(25 * time.Hour)
		nightly(t, w, conf)
	}
	s := w.Stores[0]
	inLog, notes := map[string]bool{}, s.Keys("moved/")
	for _, key := range s.Keys("backups/") {
		if !strings.Contains(key, "/log/") {
			continue
		}
		for p, err := range history.LogPlaces(t.Context(), s, key) {
			if err != nil {
				t.Fatal(err)
			}
			inLog[p.Object] = true
		}
	}
	packs := s.Keys("packs/")
	t.Logf("%d nights: %d packs, %d notes, %d packs in the log", days, len(packs), len(notes), len(inLog))
	if len(notes) < days/3 || len(packs) > days/2 {
		t.Errorf("%d packs and %d notes after %d nights", len(packs), len(notes), days)
	}
	for _, key := range notes {
		about := "packs/" + strings.TrimSuffix(strings.TrimPrefix(key, "moved/"), ".json") + ".tar.zst"
		if inLog[about] {
			t.Errorf("the log names %s, which has a note", about)
		}
		s.Lose(key)
	}
	for _, path := range []string{"user/bob", "user/carl"} {
		log := &history.Log{Store: s, Backup: path}
		numbers, err := log.Checkpoints(t.Context())
		if err != nil || len(numbers) < 3 {
			t.Fatalf("%s: checkpoints %v, %v", path, numbers, err)
		}
		for _, n := range append(numbers, 0) {
			requests := counted(w, func() { readMoment(t, s, path, n, days) })
			t.Logf("%s, commit %d: %v", path, n, requests)
		}
	}
	if out, err := toolWith(t, w, conf, "verify", "-A"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// readMoment reads every message of a moment, and compares it with its GUID.
func readMoment(t *testing.T, s objstore.Store, path string, n uint64, most int) {
	t.Helper()
	m, err := history.Load(t.Context(), s, path, history.Moment{Number: n})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	objects, read := history.NewObjects(s, 0), 0
	for msg, err := range m.Messages() {
		if err != nil {
			t.Fatal(err)
		}
		body, err := history.OpenMessage(t.Context(), objects, msg, m.Places)
		if err != nil {
			t.Fatalf("%s, commit %d: %v", path, n, err)
		}
		sum := sha1.New()
		_, err = io.Copy(sum, body)
		if err = errors.Join(err, body.Close()); err != nil || !bytes.Equal(sum.Sum(nil), msg.GUID[:]) {
			t.Errorf("%s, commit %d: message %s: %v", path, n, msg.GUID, err)
		}
		read++
	}
	if read == 0 || read > most || n == 0 && read != most {
		t.Errorf("%s, commit %d: %d messages", path, n, read)
	}
}

// A store that does not answer has two lines, and a full directory for temporary files one, however many backups
// have old places.
func TestCompactPlacesWithoutStore(t *testing.T) {
	w := tooltest.New(t, "default")
	var errs bytes.Buffer
	c := &command{ctx: t.Context(), mode: modeAll, out: io.Discard, err: &errs, clock: func() time.Time { return w.Now }}
	k := &compaction{c: c, record: c.beginRun(repository.RunCompact), progress: &progress{}}
	s := faultstore.New(w.Stores[0])
	s.Add(faultstore.Fault{Before: faultstore.Lost})
	paths := []string{"user/a", "user/b", "user/c", "user/d"}
	ok, err := k.relocate(repository.Config{Name: "default", Store: s}, &collection.Result{Places: paths})
	if ok || err != nil || strings.Count(errs.String(), "\n") != 2 {
		t.Errorf("%t, %v: %s", ok, err, errs.String())
	}
	errs.Reset()
	for range paths {
		if !k.notRelocated(repository.Config{Name: "default"}, fmt.Errorf("places: %w", history.ErrTemporaryFile)) {
			t.Error("no failure")
		}
	}
	if strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("%s", errs.String())
	}
}
