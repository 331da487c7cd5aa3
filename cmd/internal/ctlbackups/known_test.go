package ctlbackups

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions"
)

// indexDaemon answers list, stat, measured and changed like backupd.
func indexDaemon(t *testing.T, w *tooltest.World) {
	daemon(t, w, func(_ context.Context, r control.Request, part func(any) error) control.Reply {
		if r.Op == "changed" {
			if err := w.Set.ForgetCensus(); err != nil {
				t.Error(err)
			}
			return control.Reply{}
		}
		if r.Op == "measured" {
			if err := w.Set.PutMeasured(r.Values); err != nil {
				t.Error(err)
			}
			return control.Reply{}
		}
		at, err := w.Set.Counted()
		if err != nil {
			return control.Reply{Error: err.Error()}
		}
		note := ""
		if w.Now.Sub(at) > partitions.CensusAge {
			note = "counted long ago"
		}
		list := w.Set.Known
		if r.Op == "stat" {
			list = w.Set.KnownMeasured
		}
		for _, p := range w.Set.Partitions() {
			for known, err := range list(p.Name()) {
				if err == nil {
					err = part(known)
				}
				if err != nil {
					return control.Reply{Error: err.Error()}
				}
			}
		}
		return control.Reply{Note: note}
	})
}

// census waits for a census of the daemon that begins now: after an earlier one, Known works all
// the time.
func census(t *testing.T, w *tooltest.World) {
	t.Helper()
	w.Set.BeginCensus()
	for range 1000 {
		at, err := w.Set.Counted()
		if err == nil && !at.Before(w.Now) {
			return
		} else if err != nil && !errors.Is(err, partitions.ErrNoCensus) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the census does not end")
}

// same compares the list of the daemon with that of the bucket, and returns the requests for the
// former.
func same(t *testing.T, w *tooltest.World, argv ...string) (requests map[string]int) {
	t.Helper()
	want, err := tool(t, w, append(argv, "--from-bucket")...)
	if err != nil {
		t.Fatal(err)
	}
	requests = counted(w, func() {
		got, err := tool(t, w, argv...)
		if err != nil || got != want {
			t.Errorf("%v: %v:\n%swith --from-bucket:\n%s", argv, err, got, want)
		}
	})
	return requests
}

// A running daemon answers list without reading the bucket, once it knows all backups, and adds its
// own commits. It knows all backups of a repository that it has created.
func TestListFromIndex(t *testing.T) {
	w, users := many(t, 20)
	indexDaemon(t, w)
	index := func(when string) {
		t.Helper()
		if n := same(t, w, "list"); n["get"] != 0 || n["list"] != 2 { // set-aside/ and erased/
			t.Errorf("%s: %v", when, n)
		}
		if n := same(t, w, "list", "-P", "u00"); len(n) != 0 {
			t.Errorf("%s: -P: %v", when, n)
		}
		same(t, w, "list", "-t1", "-A")
	}
	index("in a repository of the daemon")
	if err := w.Set.ForgetCensus(); err != nil {
		t.Fatal(err)
	}
	if n := same(t, w, "list"); n["get"] != 2*len(users) {
		t.Errorf("before a census: %v", n)
	}
	census(t, w)
	index("after a census")
	w.Now = w.Now.Add(2 * time.Minute)
	for _, user := range []string{"u007", "newcomer", "u000-y"} {
		m := tooltest.NewMailbox("user." + user)
		m.Deliver(tooltest.Mail("again "+user, "carol@example.org", 300), w.Now)
		w.Sync(m)
	}
	index("after syncs")
	if out, err := tool(t, w, "list", "-D", "example.org"); err == nil || !strings.Contains(out, "not found") {
		t.Errorf("a domain without backups: %v: %s", err, out)
	}
	if out, err := tool(t, w, "set-aside", "u003"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := same(t, w, "list"); n["get"] == 0 {
		t.Error("the list does not read the bucket after a tool has changed it")
	}
	census(t, w)
	fresh := same(t, w, "list") // reads only what is set aside
	w.Now = w.Now.Add(2 * time.Hour)
	sent := counted(w, func() {
		if out, err := tool(t, w, "list"); err != nil || !strings.HasSuffix(out, "ctl_backups: counted long ago\n") {
			t.Errorf("an old census: %v: %s", err, out)
		}
	})
	if !maps.Equal(sent, fresh) {
		t.Errorf("an old census: %v, before: %v", sent, fresh)
	}
}

// A damaged or missing backup.json is reported by the daemon's list as by the bucket's. The
// others are still answered from the index.
func TestListBesideUnreadable(t *testing.T) {
	w, _ := many(t, 5)
	indexDaemon(t, w)
	if _, err := w.Stores[0].Put(t.Context(), "backups/user/u003/backup.json", strings.NewReader("{"), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Stores[0].Delete(t.Context(), "backups/user/u004/backup.json"); err != nil {
		t.Fatal(err)
	}
	w.Now = w.Now.Add(time.Minute)
	census(t, w)
	for _, verb := range []string{"list", "stat"} {
		want, errWant := tool(t, w, verb, "-A", "--from-bucket")
		got, err := tool(t, w, verb, "-A")
		if got != want || !errors.Is(err, cli.ErrReported) || !errors.Is(errWant, cli.ErrReported) || strings.Count(got, "u00") < 6 {
			t.Errorf("%s: %v:\n%swith --from-bucket: %v:\n%s", verb, err, got, errWant, want)
		}
	}
}

// If the daemon cannot answer, the bucket is read. If it fails in the middle, the list is known to
// be incomplete.
func TestListWithoutAnAnswer(t *testing.T) {
	w, users := many(t, 5)
	fail, parts := "", 0
	daemon(t, w, func(_ context.Context, r control.Request, part func(any) error) control.Reply {
		for range parts {
			if err := part([]partitions.Known{{Partition: "default", Path: "user/u000", Kind: "user", Name: "u000", Bytes: 5}}); err != nil {
				return control.Reply{}
			}
		}
		return control.Reply{Error: fail}
	})
	fail = "this backupd does not know the operation"
	same(t, w, "list")
	if out, err := tool(t, w, "list", "-v"); err != nil || !strings.Contains(out, "reading the bucket: backupd: "+fail) {
		t.Errorf("%v: %s", err, out)
	}
	parts = 1
	out, err := tool(t, w, "list")
	if err == nil || !strings.Contains(out, "incomplete, --from-bucket") || strings.Contains(out, users[3]) {
		t.Errorf("%v: %s", err, out)
	}
}

// A second stat takes what the first one has measured from the daemon, unless the backup has changed.
func TestStatFromIndex(t *testing.T) {
	w, users := many(t, 30)
	indexDaemon(t, w)
	census(t, w)
	if n := same(t, w, "stat", "-A"); n["list"] != len(users) || n["get"] != 2*len(users) {
		t.Errorf("the first time: %v for %d backups, want one list and the two commits of each", n, len(users))
	}
	if n := same(t, w, "stat", "-A"); len(n) != 0 {
		t.Errorf("the second time: %v", n)
	}
	if n := same(t, w, "stat", "-P", "u00"); len(n) != 0 {
		t.Errorf("-P: %v", n)
	}
	w.Now = w.Now.Add(2 * time.Minute)
	for _, user := range []string{"u007", "newcomer"} {
		m := tooltest.NewMailbox("user." + user)
		m.Deliver(tooltest.Mail("again "+user, "carol@example.org", 300), w.Now)
		w.Sync(m)
	}
	if n := same(t, w, "stat", "-A"); n["list"] != 2 {
		t.Errorf("after two syncs: %v", n)
	}
	if n := same(t, w, "stat", "-A"); len(n) != 0 {
		t.Errorf("after that: %v", n)
	}
	if out, err := tool(t, w, "set-aside", "u003"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	same(t, w, "stat", "-A")
	census(t, w)
	if n := same(t, w, "stat", "-A"); len(n) != 0 {
		t.Errorf("after a backup was set aside: %v", n)
	}
}

// A table of list shows the bodies as the last stat has measured them, and sends no request for a
// backup. stat then needs none either.
func TestTablesFromIndex(t *testing.T) {
	w, users := many(t, 20)
	indexDaemon(t, w)
	census(t, w)
	if out, err := tool(t, w, "list", "-h"); err != nil || strings.Contains(out, w.Now.Format(time.DateOnly)+"    default") {
		t.Errorf("before stat: %v\n%s", err, out)
	}
	want, err := tool(t, w, "stat", "-h", "-A")
	if err != nil || !strings.Contains(want, "  21 backups\n\nretention: every moment of 2d\n\n") {
		t.Fatalf("%v\n%s", err, want)
	}
	w.Now = w.Now.Add(time.Minute)
	n := counted(w, func() {
		out, err := tool(t, w, "list", "-h")
		if err != nil || strings.Count(out, "2026-11-20    default  u") != len(users) || !strings.Contains(out, "  21 of 21             21 backups\n") {
			t.Errorf("after stat: %v\n%s", err, out)
		}
	})
	if n["get"] != 1 || n["list"] != 2 { // collection.json; set-aside/ and erased/
		t.Errorf("list: %v", n)
	}
	n = counted(w, func() {
		out, err := tool(t, w, "stat", "-h", "-A")
		was := strings.Replace(want, "retention: every moment of 2d\n", "retention: every moment of 2d; the oldest line was measured at "+w.Now.Add(-time.Minute).Format("2006-01-02 15:04:05 -0700")+"\n", 1)
		if err != nil || out != was {
			t.Errorf("stat again: %v\n%swant\n%s", err, out, was)
		}
	})
	if n["get"] != 1 || len(n) != 1 {
		t.Errorf("stat again: %v", n)
	}
	out, err := tool(t, w, "list", "--ndjson", "-A")
	if err != nil || strings.Count(out, `"measured":"2026-11-2`) != len(users) {
		t.Errorf("list --ndjson: %v\n%s", err, out)
	}
}
