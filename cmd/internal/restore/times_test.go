package restore

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// sessions makes a backup of anne with three more messages in each session of a new daemon. The
// store's clock is ahead by the given time. moments are the times after each session.
func sessions(t *testing.T, ahead ...time.Duration) (config string, moments []time.Time) {
	t.Helper()
	dir := t.TempDir()
	inner, err := dirstore.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := inner.Close(); err != nil {
			t.Error(err)
		}
	})
	store := faultstore.New(inner)
	x, err := index.Open(filepath.Join(dir, "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, by := range ahead {
		store.Clear()
		store.Add(faultstore.Fault{Shift: by})
		set, err := partitions.Open(partitions.Options{
			Index: x, Host: "host", Software: "test", ClockPause: time.Nanosecond,
			Partitions: []repository.Config{{Name: "default", Location: filepath.Join(dir, "store"), Store: store}},
		})
		if err != nil {
			t.Fatal(err)
		}
		u := &largeUser{t: t, s: session.New(set, session.Who{Connection: "c1", Client: "test"})}
		u.deliver(3 * (i + 1))
		u.s.Close()
		if err := set.Close(); err != nil {
			t.Fatal(err)
		}
		moments = append(moments, time.Now())
	}
	if err := errors.Join(x.Close()); err != nil {
		t.Fatal(err)
	}
	return conf(t, dir, "imapd.conf", filepath.Join(dir, "store")), moments
}

// The clock of the store was 300 days ahead for a while, and all later commits carry that time. A
// restore of the newest state is complete, and so is a restore of an earlier moment. Both warn
// about the wrong times.
func TestRestoreThroughWrongTimes(t *testing.T) {
	config, moments := sessions(t, 0, 300*24*time.Hour, 0, 0)
	for i, want := range []string{"", "commit 2 is", "commits 2 to 3 are", "commits 2 to 4 are", "commits 2 to 4 are"} {
		to := filepath.Join(t.TempDir(), "to")
		argv := []string{"-C", config, "--to", "eml:" + to, "anne", "-a"}
		if i < len(moments) {
			argv = append(argv, "--at", moments[i].UTC().Format(time.RFC3339Nano))
		}
		code, said := program(t, argv...)
		messages := 3 * min(i+1, len(moments))
		if got := len(bodies(t, to)); code != 0 || got != messages {
			t.Errorf("%d: status %d, %d messages of %d: %s", i, code, got, messages, said)
		}
		if (said == "") != (want == "") || !strings.Contains(said, want) {
			t.Errorf("%d: %q, want %q", i, said, want)
		}
	}
}
