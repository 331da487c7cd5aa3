package ctlbackups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// found returns the backup that a word on the command line means.
func foundIn(t *testing.T, open *cli.Bucket, name string) *repository.Found {
	t.Helper()
	f, err := open.Find(t.Context(), cli.ByUser, name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A hold is shown by every list until it is released or ends, and placed only once.
func TestHold(t *testing.T) {
	w := two(t)
	for range 2 {
		if out, err := tool(t, w, "hold", "bob", "--reason", "case 4711\x1b[2J", "--until", "2027-02-03"); err != nil || out != "hold bob: ok\n" {
			t.Fatalf("%v: %q", err, out)
		}
	}
	f := foundIn(t, w.Bucket(""), "bob")
	if err := f.CheckHolds(t.Context(), w.Now); !errors.Is(err, repository.ErrOnHold) || strings.Count(err.Error(), "case 4711") != 1 {
		t.Errorf("bob: %v", err)
	}
	if err := foundIn(t, w.Bucket(""), "anne@example.org").CheckHolds(t.Context(), w.Now); err != nil {
		t.Errorf("anne: %v", err)
	}
	const text = "on hold: placed by "
	for _, argv := range []string{"list", "list bob", "list -P bo", "list --holds", "stat bob", "stat -A", "list -f user/bob"} {
		out, err := tool(t, w, strings.Fields(argv)...)
		if err != nil || strings.Count(out, text) != 1 || !strings.Contains(out, " until 2027-02-03 00:00:00 +0000: case 4711") || strings.Contains(out, "\x1b") {
			t.Errorf("%s: %v:\n%s", argv, err, out)
		}
	}
	if out, err := tool(t, w, "list", "--holds"); err != nil || strings.Contains(out, "anne") {
		t.Errorf("list --holds: %v:\n%s", err, out)
	}
	for _, argv := range []string{"list --ndjson", "stat -A --ndjson"} {
		out, err := tool(t, w, strings.Fields(argv)...)
		if err != nil || strings.Count(out, `"holds":[{"kind":"hold","by":"`) != 1 || !strings.Contains(out, `"until":"2027-02-03T00:00:00Z"}]`) {
			t.Errorf("%s: %v:\n%s", argv, err, out)
		}
	}
	was := w.Now
	w.Now = time.Date(2027, 2, 3, 0, 0, 0, 0, time.UTC)
	if out, err := tool(t, w, "list", "--holds"); err != nil || out != "" {
		t.Errorf("after its end: %v:\n%s", err, out)
	}
	w.Now = was.Add(time.Hour)
	if out, err := tool(t, w, "release", "bob"); err != nil || !strings.HasPrefix(out, "release bob: ok\n  ended: placed by ") {
		t.Errorf("release: %v: %s", err, out)
	}
	if out, err := tool(t, w, "release", "bob"); err != nil || out != "release bob: ok\n  it was not on hold\n" {
		t.Errorf("again: %v: %s", err, out)
	}
	if out, err := tool(t, w, "release", "--ndjson", "bob"); err != nil || !strings.Contains(out, `"status":"ok","ended":[]}`) {
		t.Errorf("in JSON: %v: %s", err, out)
	}
	if out, err := tool(t, w, "list", "--holds"); err != nil || out != "" {
		t.Errorf("after release: %v:\n%s", err, out)
	}
}

// A backup that was set aside keeps its hold, and can be held and released there.
func TestHoldSetAside(t *testing.T) {
	w := two(t)
	for _, argv := range [][]string{{"hold", "bob", "--reason", "before"}, {"set-aside", "bob"}} {
		if out, err := tool(t, w, argv...); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	out, err := tool(t, w, "list", "--holds", "-A")
	if err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "set-aside/user/bob/") || !strings.Contains(out, ": before\n") {
		t.Fatalf("%v: %s", err, out)
	}
	where := strings.Split(out, "\t")[2]
	if out, err := tool(t, w, "release", "-f", where); err != nil || !strings.Contains(out, ": before\n") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "hold", "-f", where, "--reason", "after"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "list", "--holds", "-A"); err != nil || !strings.Contains(out, ": after\n") || strings.Contains(out, "before") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "hold", "bob"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "bob: not found") {
		t.Errorf("a backup that is gone: %v: %s", err, out)
	}
}

// A holds.json that cannot be read counts as a hold; a hold or its release replaces it.
func TestHoldUnreadable(t *testing.T) {
	w := two(t)
	spoil := func() {
		if _, err := w.Stores[0].Put(t.Context(), repository.HoldsKey("user/bob"), bytes.NewReader([]byte(`{"version":1,"holds":[`)), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	spoil()
	f := foundIn(t, w.Bucket(""), "bob")
	if err := f.CheckHolds(t.Context(), w.Now); !errors.Is(err, repository.ErrOnHold) {
		t.Errorf("unreadable: %v", err)
	}
	if out, err := tool(t, w, "list"); err != nil || !strings.Contains(out, "on hold: holds.json is unreadable, which counts as a hold; ") || !strings.Contains(out, "warning: bob: ") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "hold", "bob", "--reason", "mine"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "list", "--holds"); err != nil || !strings.Contains(out, "was unreadable") || !strings.Contains(out, ": mine\n") {
		t.Errorf("%v: %s", err, out)
	}
	spoil()
	if out, err := tool(t, w, "release", "bob"); err != nil || !strings.Contains(out, "was unreadable") {
		t.Errorf("%v: %s", err, out)
	}
	if err := f.CheckHolds(t.Context(), w.Now); err != nil {
		t.Errorf("released: %v", err)
	}
}

// hold returns only when no program can still be removing something without having seen it.
func TestHoldWaitsForUpkeep(t *testing.T) {
	t.Parallel()
	w := two(t)
	f := foundIn(t, w.Bucket(""), "bob")
	u, err := repository.ExcludeUpkeep(t.Context(), f, repository.LockOptions{Owner: "the test", Now: func() time.Time { return w.Now }})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for f.CheckHolds(t.Context(), w.Now) == nil { // the hold comes first
			time.Sleep(time.Millisecond)
		}
		time.Sleep(upkeepShown + 500*time.Millisecond)
		if err := u.End(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	out, err := tool(t, w, "hold", "bob")
	if err != nil || !strings.HasPrefix(out, "hold bob: ok\nstderr: ctl_backups: waiting: ") || !strings.Contains(out, "by the test since") {
		t.Errorf("%v: %s", err, out)
	}
	select {
	case <-ended:
	default:
		t.Error("hold did not wait")
	}
	<-ended
}

func TestHoldUsage(t *testing.T) {
	w := two(t)
	for _, argv := range [][]string{{"hold"}, {"release"}, {"hold", "bob", "--until", "yesterday"}, {"hold", "bob", "--until="}, {"hold", "bob", "--until", "x"},
		{"release", "-A"}, {"release", "-P", "b"}, {"release", "bob", "--reason", "x", "--tripwire"}, {"hold", "bob", "--tripwire"}, {"stat", "--holds", "bob"}} {
		_, err := tool(t, w, argv...)
		var u *cli.UsageError
		if !errors.As(err, &u) {
			t.Errorf("%v: %v, want a usage error", argv, err)
		}
	}
}

// compact leaves a backup on hold alone, which is no failure.
func TestCompactOnHold(t *testing.T) {
	w := two(t)
	if out, err := tool(t, w, "hold", "bob"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.Now = w.Now.AddDate(0, 0, 4)
	var log []string
	for key := range w.Keys("backups/user/bob/log/") {
		log = append(log, key)
	}
	for _, argv := range []string{"compact -n -v -A", "compact -v -A"} { // a dry run shows the same
		out, err := tool(t, w, strings.Fields(argv)...)
		if err != nil || !strings.Contains(out, "compact bob: on hold (placed by ") || !strings.Contains(out, "compact anne@example.org: ") ||
			!strings.Contains(out, ", 1 on hold (ctl_backups list --holds)\nmerge: 1 commit") {
			t.Errorf("%s: %v: %s", argv, err, out)
		}
	}
	if out, err := tool(t, w, "compact", "bob"); err != nil || out != "compact bob: on hold\n" {
		t.Errorf("%v: %s", err, out)
	}
	if now := slices.Collect(w.Keys("backups/user/bob/log/")); !slices.Equal(now, log) {
		t.Errorf("the log was %q, and is %q", log, now)
	}
	if out, err := tool(t, w, "release", "bob"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "compact", "bob"); err != nil || !strings.Contains(out, "compact bob: ok\n") {
		t.Errorf("released: %v: %s", err, out)
	}
}

// Somebody has deleted holds.json. The host that has seen it reports that each night, and removes nothing
// from the backup until a person has placed the hold again, or released it.
func TestHoldsThatWereDeleted(t *testing.T) {
	w := two(t)
	key := repository.HoldsKey("user/bob")
	for _, argv := range [][]string{{"hold", "bob", "--reason", "court"}, {"compact", "-A"}} {
		if out, err := tool(t, w, argv...); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	w.Stores[0].Lose(key)
	log := slices.Collect(w.Keys("backups/user/bob/log/"))
	for range 2 {
		w.Now = w.Now.AddDate(0, 0, 4)
		for _, argv := range []string{"compact -n -v -A", "compact -v -A"} {
			out, err := tool(t, w, strings.Fields(argv)...)
			if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "compact bob: failed (") || strings.Count(out, "stderr: ctl_backups: compact bob: ") != 1 ||
				!strings.Contains(out, "holds.json is gone") || !strings.Contains(out, "ctl_backups hold") || strings.Contains(out, "compact anne@example.org: failed") {
				t.Errorf("%s: %v: %s", argv, err, out)
			}
		}
		if now := slices.Collect(w.Keys("backups/user/bob/log/")); !slices.Equal(now, log) {
			t.Fatalf("the log was %q, and is %q", log, now)
		}
	}
	for _, next := range []struct{ verb, want string }{{"hold", "compact bob: on hold"}, {"release", "compact bob: ok"}} {
		if out, err := tool(t, w, next.verb, "bob"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if out, err := tool(t, w, "compact", "-v", "-A"); err != nil || !strings.Contains(out, next.want) {
			t.Errorf("after a %s: %v: %s", next.verb, err, out)
		}
	}
}

// A running daemon knows which backups are on hold, also by its own tripwire, so only these cost
// requests.
func TestHoldFromIndex(t *testing.T) {
	w, _ := many(t, 20)
	indexDaemon(t, w)
	census(t, w)
	for _, argv := range [][]string{{"hold", "u007"}, {"hold", "-P", "u01", "--reason", "ten"}, {"release", "u015"}} {
		if out, err := tool(t, w, argv...); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	census(t, w)
	for _, argv := range [][]string{{"list"}, {"list", "--holds", "-A"}} {
		if n := same(t, w, argv...); n["get"] != 11 || n["list"] != 2 { // set-aside/ and erased/; one for each holds.json, also of u015
			t.Errorf("%v: %v", argv, n)
		}
	}
	out, err := tool(t, w, "list", "--holds", "-A")
	if err != nil || strings.Count(out, "\n") != 10 || strings.Contains(out, "u015") || strings.Count(out, ": ten\n") != 9 {
		t.Errorf("%v: %s", err, out)
	}
}

// A release of some holds leaves the others, with the time when they were placed.
func TestReleaseSome(t *testing.T) {
	w := two(t)
	for _, argv := range [][]string{{"hold", "bob", "--reason", "court"}, {"hold", "-A", "--reason", "mail  is lost"}} {
		if out, err := tool(t, w, argv...); err != nil {
			t.Fatal(err, out)
		}
		w.Now = w.Now.Add(time.Hour)
	}
	out, err := tool(t, w, "release", "-A", "--reason", "mail is lost")
	if err != nil || strings.Count(out, "ended: placed by") != 2 || strings.Contains(out, "court") {
		t.Errorf("%v\n%s", err, out)
	}
	placed := w.Now.Add(-2 * time.Hour).Format("2006-01-02 15:04")
	if out, err := tool(t, w, "list", "--holds"); err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "since "+placed) || !strings.Contains(out, "court") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := tool(t, w, "release", "-A", "--tripwire"); err != nil || strings.Count(out, "it had no such hold") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := tool(t, w, "release", "-A", "--yes"); err != nil || !strings.Contains(out, "ended: placed by") {
		t.Errorf("%v\n%s", err, out)
	}
}

// hidingHolds is a store whose lists omit holds.json, as they may while it is replaced.
type hidingHolds struct{ objstore.Store }

func (h hidingHolds) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for i, err := range h.Store.List(ctx, prefix, after) {
			if (err != nil || !strings.HasSuffix(i.Key, "/holds.json")) && !yield(i, err) {
				return
			}
		}
	}
}

// Retention reads the holds of a backup, even if no list shows them.
func TestRetentionReadsHolds(t *testing.T) {
	w := tooltest.New(t, "default")
	boxes := []*tooltest.Mailbox{tooltest.NewMailbox("user.free"), tooltest.NewMailbox("user.held")}
	for day := range 6 {
		for _, m := range boxes {
			m.Deliver(tooltest.Mail(fmt.Sprintf("day %d", day), "carol@example.org", 3000), w.Now)
			w.Sync(m)
		}
		w.Now = w.Now.Add(24 * time.Hour)
	}
	w.Now = w.Now.AddDate(0, 0, 10)
	if out, err := tool(t, w, "hold", "held"); err != nil {
		t.Fatal(err, out)
	}
	w.Parts[0].Store = hidingHolds{w.Parts[0].Store}
	out, err := tool(t, w, "compact", "-v", "-A")
	if err != nil || !strings.Contains(out, "compact free: ok") || !strings.Contains(out, "compact held: on hold") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A backup was moved while it was on hold. Its release lets it be erased, also if only the copy that the move has left is on hold.
func TestReleaseAfterMove(t *testing.T) {
	t.Parallel()
	w, _ := spread(t)
	from, to := at(t, w.Parts, "anne"), "one"
	if from == to {
		to = "two"
	}
	mustTool(t, w, "hold anne: ok\n", "hold", "anne", "--reason", "case 4711")
	mustTool(t, w, "move anne: ok\n", "move", "anne", to)
	if out, err := tool(t, w, "erase", "anne", "--yes", "--reason", "left"); err == nil || !strings.Contains(out, "case 4711") {
		t.Errorf("on hold: %v: %s", err, out)
	}
	if _, err := foundIn(t, w.Bucket(""), "anne").ReleaseHolds(t.Context(), nil, repository.AnyHold); err != nil {
		t.Fatal(err)
	}
	if out, err := tool(t, w, "erase", "anne", "--yes", "--reason", "left"); err == nil || !strings.Contains(out, "case 4711") {
		t.Errorf("the copy is on hold: %v: %s", err, out)
	}
	if out, err := tool(t, w, "release", "anne"); err != nil || !strings.HasPrefix(out, "release anne: ok\n  ended: placed by ") {
		t.Errorf("release: %v: %s", err, out)
	}
	if out, err := tool(t, w, "erase", "anne", "--yes", "--reason", "left"); err != nil {
		t.Errorf("erase: %v: %s", err, out)
	}
}
