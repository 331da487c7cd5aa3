package ctlbackups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// answering is tool with somebody at the terminal.
func answering(t *testing.T, w *tooltest.World, answer string, argv ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil }
	c := &command{ctx: t.Context(), open: open, now: w.Now, clock: func() time.Time { return w.Now }, in: strings.NewReader(answer), out: &out, err: &out, terminal: true}
	err := c.run(argv)
	return out.String(), err
}

// all returns the keys of a user in every partition.
func allKeys(w *tooltest.World, user string) (keys []string) {
	for _, s := range w.Stores {
		for _, k := range s.Keys("") {
			if strings.Contains(k, "/user/"+user+"/") {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// erase asks, removes every copy in every partition, and leaves a record; compact removes the
// bodies later.
func TestEraseVerb(t *testing.T) {
	w := moved(t)
	for _, argv := range [][]string{{"set-aside", "bob"}, {"compact", "-A"}} {
		if out, err := tool(t, w, argv...); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	w.Now = w.Now.Add(time.Hour)
	bob := tooltest.NewMailbox("user.bob")
	bob.Deliver(tooltest.Mail("bob again", "carol@example.org", 9000), w.Now)
	w.Sync(bob)
	was := allKeys(w, "bob")
	if out, err := answering(t, w, "no\n", "erase", "bob", "--reason", "left"); err == nil || strings.Count(out, " objects, ") != 3 || len(allKeys(w, "bob")) != len(was) {
		t.Fatalf("answered no: %v: %s", err, out)
	}
	out, err := tool(t, w, "erase", "-n", "bob")
	if err != nil || strings.Count(out, " objects, ") != 3 || !strings.Contains(out, "its bodies are in ") || len(allKeys(w, "bob")) != len(was) {
		t.Fatalf("dry run: %v: %s", err, out)
	}
	if out, err := answering(t, w, "bob\n", "erase", "bob", "--reason", "left\x1b[2J"); err != nil || !strings.Contains(out, "erase bob: default: ") || !strings.Contains(out, "bodies in ") {
		t.Fatalf("%v: %s", err, out)
	}
	if left := allKeys(w, "bob"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	for argv, want := range map[string]string{
		"list -A":           "ctl_backups: erasure of bob in partition default: removed ",
		"erase --list":      "\tpending\tdefault:bob\tby ",
		"erase --list -j":   `"reason": "left`,
		"erase -n bob":      "bodies in ",
		"verify -A":         "verify anne@example.org: ok\n",
		"compact -A -v":     "erase bob: default: bodies are removed after ",
		"erase -f user/bob": "",
	} {
		args := strings.Fields(argv)
		if want == "" {
			args = append(args, "--reason", "again")
		}
		out, err := tool(t, w, args...)
		if err != nil || !strings.Contains(out, want) || strings.Contains(out, "\x1b") {
			t.Errorf("%s: %v: %s", argv, err, out)
		}
	}
	if out, err := tool(t, w, "stat", "bob"); err == nil {
		t.Errorf("stat: %s", out)
	}
	w.Now = w.Now.Add(3 * time.Hour)
	if out, err := tool(t, w, "compact", "-A"); err != nil || !strings.Contains(out, "and the bodies in ") {
		t.Errorf("compact: %v: %s", err, out)
	}
	if out, err := tool(t, w, "erase", "--list"); err != nil || !strings.Contains(out, "\tdone\tdefault:bob\t") || strings.Contains(out, "pending") {
		t.Errorf("at the end: %v: %s", err, out)
	}
	if out, err := tool(t, w, "erase", "bob", "--yes", "--reason", "x"); err == nil || !strings.Contains(out, "not found") {
		t.Errorf("nothing is left: %v: %s", err, out)
	}
	if out, err := tool(t, w, "verify", "-A"); err != nil {
		t.Errorf("verify: %v: %s", err, out)
	}
}

// moved has bob in partition default, after a move from the other one, which kept a sealed copy.
func moved(t *testing.T) *tooltest.World {
	t.Helper()
	w := tooltest.New(t, "default", "cold")
	for _, user := range []string{"bob", "anne@example.org"} {
		m := tooltest.NewMailbox("user." + user)
		if local, domain, ok := strings.Cut(user, "@"); ok {
			m = tooltest.NewMailbox(domain + "!user." + local)
		}
		for i := range 4 {
			m.Deliver(tooltest.Mail(fmt.Sprintf("%s %d", user, i), "carol@example.org", 9000), w.Now)
		}
		w.Sync(m)
		w.Now = w.Now.Add(time.Hour)
	}
	for _, to := range []string{"cold", "default"} {
		if out, err := tool(t, w, "move", "bob", to); err != nil && !strings.Contains(out, "already") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return w
}

// erase --wait waits for the grace and removes the bodies.
func TestEraseWait(t *testing.T) {
	w := two(t)
	var out bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil }
	c := &command{ctx: t.Context(), open: open, now: w.Now, clock: func() time.Time { return w.Now }, out: &out, err: &out,
		pass: func(d time.Duration) { w.Now = w.Now.Add(d) }}
	began := w.Now
	if err := c.run([]string{"erase", "bob", "--yes", "--wait", "--reason", "left"}); err != nil || !strings.Contains(out.String(), "and the bodies in ") {
		t.Errorf("%v: %s", err, out.String())
	}
	if took := w.Now.Sub(began); took < 2*time.Hour || took > 3*time.Hour {
		t.Errorf("it waited for %s", took)
	}
}

// A hold forbids it, in words that name the hold.
func TestEraseHeld(t *testing.T) {
	w := two(t)
	if out, err := tool(t, w, "hold", "bob", "--reason", "case 4711"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before := w.Stores[0].Snapshot()
	out, err := tool(t, w, "erase", "bob", "--yes", "--reason", "left")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "case 4711") || !strings.Contains(out, "on hold") {
		t.Errorf("%v: %s", err, out)
	}
	if changed := w.Stores[0].Changed(before); len(changed) > 0 {
		t.Errorf("changed: %q", changed)
	}
}

// hold waits until an erasure of a copy that was set aside has ended, and finds that it is gone.
func TestHoldWaitsForErasure(t *testing.T) {
	w := two(t)
	if out, err := tool(t, w, "set-aside", "bob"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var copied *repository.Found
	for f, err := range repository.BrowseAside(t.Context(), w.Parts[0]) {
		if err != nil {
			t.Fatal(err)
		}
		copied = f
	}
	u, err := repository.HoldAside(t.Context(), copied, repository.LockOptions{Owner: "the test", Now: func() time.Time { return w.Now }})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for copied.CheckHolds(t.Context(), w.Now) == nil { // the hold comes first
			time.Sleep(time.Millisecond)
		}
		w.Stores[0].Lose(repository.AsideInfoKey(copied.Aside))
		if err := u.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	out, err := tool(t, w, "hold", "-f", copied.Aside)
	<-ended
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "erased") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestEraseUsage(t *testing.T) {
	w := two(t)
	for _, argv := range [][]string{{"erase"}, {"erase", "bob"}, {"erase", "bob", "--yes"}, {"erase", "bob", "--reason", " "}, {"erase", "bob", "--reason", "x"},
		{"erase", "-A", "--yes", "--reason", "x"}, {"erase", "-P", "b", "--yes", "--reason", "x"}, {"erase", "--list", "bob"}, {"list", "--yes"}, {"compact", "-A", "--wait"}} {
		before := w.Stores[0].Snapshot()
		_, err := tool(t, w, argv...)
		var u *cli.UsageError
		if !errors.As(err, &u) {
			t.Errorf("%v: %v, want a usage error", argv, err)
		}
		if changed := w.Stores[0].Changed(before); len(changed) > 0 {
			t.Errorf("%v has changed %q", argv, changed)
		}
	}
}

// compact completes an erasure that was killed while it removed a copy. Until then collection could
// not count the rest of the copy.
func TestCompactResumesErasure(t *testing.T) {
	w := two(t)
	w.Stores[0].SetFaults(func(op, key string) error {
		if op == "delete" && strings.HasPrefix(key, "set-aside/") && strings.Contains(key, "/log/") {
			return &objstore.Error{Op: op, Key: key, Err: errors.New("killed")}
		}
		return nil
	}, nil)
	if out, err := tool(t, w, "erase", "bob", "--yes", "--reason", "left"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "killed") {
		t.Fatalf("%v: %s", err, out)
	}
	w.Stores[0].SetFaults(nil, nil)
	if out, err := tool(t, w, "erase", "--list"); err != nil || !strings.Contains(out, "interrupted: run erase again") {
		t.Errorf("%v: %s", err, out)
	}
	w.Now = w.Now.Add(time.Hour)
	if out, err := tool(t, w, "compact", "-A"); err != nil || !strings.Contains(out, "erase bob: default: removed ") || !strings.Contains(out, "collect default: ok") {
		t.Errorf("%v: %s", err, out)
	}
	if left := allKeys(w, "bob"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
