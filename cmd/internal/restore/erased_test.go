package restore

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A message that was erased is named, with the day, and is no problem: neither in a state with the event, nor in an
// earlier one, which has its place only.
func TestRestoreErased(t *testing.T) {
	config, part := host(t)
	at := time.Date(2026, 11, 30, 4, 0, 0, 0, time.UTC)
	store, first := part.Store, history.LogKey("user/anne", 1)
	f, err := repository.FindPath(t.Context(), part, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	newest, err := f.Log().Newest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	// An erasure puts a segment in the place of the commit.
	b := history.NewSegmentBuilder("user/anne", pack.Options{})
	var place history.Place
	var guid cyrus.GUID
	err = history.ReadCommit(t.Context(), store, "user/anne", 1, func(c *history.CommitReader) error {
		return b.Add(c, func(p history.Place) (history.Place, error) {
			if place.Object == "" && strings.HasSuffix(p.Entry, ".eml") {
				place = p
				guid, _ = cyrus.ParseGUID(strings.TrimSuffix(p.Entry, ".eml"))
			}
			return history.ErasedPlace(p.Chunk, at), nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	key, object, err := b.Finish()
	if err == nil {
		_, err = store.Put(t.Context(), key, bytes.NewReader(object), objstore.PutOptions{})
	}
	if err == nil {
		err = store.Delete(t.Context(), first)
	}
	if err != nil || place.Object == "" {
		t.Fatal(place, err)
	}
	code, said := program(t, "-C", config, "--to", "eml:"+filepath.Join(t.TempDir(), "to"), "anne", "-a")
	if code != 0 || !strings.Contains(said, guid.String()+": erased on 2026-11-30T04:00:00Z") {
		t.Errorf("status %d (newest commit %d): %s", code, newest, said)
	}
	if text := erasedText(2); text != ", 2 messages erased from the backup" || erasedText(0) != "" {
		t.Errorf("%q", text)
	}
	tip, err := f.OpenTip(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	o := repository.LockOptions{Owner: "test"}
	o.SetDefaults()
	if won, err := f.PutCommit(t.Context(), o.Header(f, tip, tip.Time), &history.ErasedEvent{Messages: []cyrus.GUID{guid}}); err != nil || !won {
		t.Fatal(won, err)
	}
	code, said = program(t, "-C", config, "--to", "eml:"+filepath.Join(t.TempDir(), "to"), "anne", "-a")
	day := tip.Time.UTC().Format(time.RFC3339)
	if code != 0 || !strings.Contains(said, guid.String()+": erased on "+day) {
		t.Errorf("status %d: want %s: %s", code, day, said)
	}
}
