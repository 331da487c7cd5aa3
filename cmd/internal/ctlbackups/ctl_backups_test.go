package ctlbackups

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/doctor"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

func TestMain(m *testing.M) {
	if os.Getenv(doctor.FactsVariable) != "" { // doctor checks as the daemon's user
		os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	time.Local = time.UTC // times are printed in the local zone
	flag.Bool("update", false, "write the golden files")
	flag.Parse()
	os.Exit(m.Run())
}

// two makes backups of two users: bob's mail is older than a day when the tool runs.
func two(t *testing.T) *tooltest.World {
	w := tooltest.New(t, "default")
	day := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	for _, user := range []string{"bob", "anne@example.org"} {
		m := tooltest.NewMailbox("user." + user)
		if local, domain, ok := strings.Cut(user, "@"); ok {
			m = tooltest.NewMailbox(domain + "!user." + local)
		}
		for i := range 10 {
			m.Deliver(tooltest.Mail(fmt.Sprintf("%s %d", user, i), "carol@example.org", 3000), day)
		}
		w.Sync(m)
		m.Expunge(3)
		w.Sync(m)
		w.Now = w.Now.Add(30 * time.Hour)
	}
	return w
}

// tool runs ctl_backups and returns its output, followed by its standard error.
func tool(t *testing.T, w *tooltest.World, argv ...string) (string, error) {
	t.Helper()
	return toolWith(t, w, "backup_retention: 1d\n", argv...)
}

// toolWith is tool with lines of imapd.conf.
func toolWith(t *testing.T, w *tooltest.World, conf string, argv ...string) (string, error) {
	t.Helper()
	return toolIn(t.Context(), w, conf, argv...)
}

// toolIn is toolWith until ctx ends.
func toolIn(ctx context.Context, w *tooltest.World, conf string, argv ...string) (string, error) {
	var out, errs bytes.Buffer
	open := func(context.Context, string, string) (*cli.Bucket, error) {
		return w.Bucket(conf), nil
	}
	c := &command{ctx: ctx, open: open, now: w.Now, clock: func() time.Time { return w.Now }, in: strings.NewReader(""), out: &out, err: &errs}
	err := c.run(argv)
	if errs.Len() > 0 {
		fmt.Fprintf(&out, "stderr: %s", errs.String())
	}
	return out.String(), err
}

// masked hides the sizes of objects, because random bytes in them compress differently.
func masked(out string) string {
	for _, m := range []struct{ re, to string }{
		{`("compress\w+": ?)[\d.]+`, "${1}N"},
		{`(?m)^(\d{4}-\S+ \S+ \S+\t)\d+\t`, "${1}N\t"},
		{`(?m)^( {30,})[\d.]+ KiB`, "${1}N"},
		{`("(?:bodies|log)": ?)\d+`, "${1}N"},
		{`(?m)^ +[\d.]+ K?i?B +[\d.]+ KiB +\S+ B +[\d.]+ KiB`, "  N  N  N  N"},
		{`(?m)( \+0000 +)[\d.]+ KiB`, "${1}N"},
	} {
		out = regexp.MustCompile(m.re).ReplaceAllString(out, m.to)
	}
	return out
}

func TestGolden(t *testing.T) {
	w := two(t)
	for name, argv := range map[string]string{
		"list.txt":           "list",
		"list-stale.txt":     "list -t48",
		"list-domain.json":   "list -j -D example.org",
		"list.ndjson":        "list -V --ndjson",
		"list-human.txt":     "list -h",
		"stat.json":          "stat -j bob",
		"stat-human.txt":     "stat -h -A",
		"stat-prefix.ndjson": "--ndjson stat -P bo",
		"verify.txt":         "verify -A",
		"verify-verbose.txt": "verify -v bob",
		"verify-quick.json":  "verify -jq -f user/bob",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tool(t, w, strings.Fields(argv)...)
			if err != nil {
				t.Fatalf("%s: %v", argv, err)
			}
			tooltest.Golden(t, name, masked(got))
		})
	}
}

func TestVerifyReportsDamage(t *testing.T) {
	w := two(t)
	for key := range w.Keys("backups/user/bob/log/") {
		w.Damage(key)
	}
	out, err := tool(t, w, "verify", "-A")
	if !errors.Is(err, cli.ErrReported) {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"bob: backups/user/bob/log/0000000000000001.tar.zst: ", "verify bob: failed (", "verify anne@example.org: ok\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestNotFound(t *testing.T) {
	out, err := tool(t, two(t), "stat", "nobody", "bob")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "nobody: not found") || !strings.Contains(out, "bob\t") {
		t.Errorf("%v: %s", err, out)
	}
}

// %SHARED means all shared mail, as in Cyrus. Names printed by list can be used as arguments.
func TestAllShared(t *testing.T) {
	w := two(t)
	if out, err := tool(t, w, "list", "-u", "%SHARED"); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "%SHARED: not found") {
		t.Errorf("without shared mail: %q, %v", out, err)
	}
	for _, name := range []string{"sh1.foo", "sh1.bar", "sh2.foo"} {
		w.Sync(tooltest.NewMailbox(name))
	}
	out, err := tool(t, w, "list", "-u", "%SHARED", "bob")
	if err != nil || strings.Count(out, "\n") != 3 || !strings.Contains(out, "\tshared/sh1\t") || !strings.Contains(out, "\tshared/sh2\t") {
		t.Fatalf("%q, %v", out, err)
	}
	for line := range strings.Lines(out) {
		name := strings.Split(line, "\t")[2]
		if again, err := tool(t, w, "list", "-u", name); err != nil || again != line {
			t.Errorf("%s: %q, %v", name, again, err)
		}
	}
	if out, err := tool(t, w, "list", "-m", "sh1.foo"); err != nil || strings.Count(out, "\n") != 1 {
		t.Errorf("one tree: %q, %v", out, err)
	}
	b := w.Bucket("")
	if _, err := b.Find(t.Context(), cli.ByUser, cli.AllShared); err == nil || !strings.Contains(err.Error(), "sh1, sh2") {
		t.Errorf("one backup of two: %v", err)
	}
}

// A misspelt domain or prefix is an error.
func TestNothingMatches(t *testing.T) {
	w := two(t)
	for _, argv := range []string{"verify -D example.com", "stat -P bo x", "list -P x"} {
		out, err := tool(t, w, strings.Fields(argv)...)
		if !errors.Is(err, cli.ErrReported) || strings.Count(out, "no userid matches") != 1 {
			t.Errorf("%s: %q, %v", argv, out, err)
		}
	}
}

// Paths with their partition, as list prints them, can be used as arguments.
func TestPathsAsPrinted(t *testing.T) {
	w := two(t)
	for _, path := range []string{"default:user/bob", "user/bob", "backups/user/bob/"} {
		if out, err := tool(t, w, "list", "-f", path); err != nil || !strings.Contains(out, "\tbob\t") {
			t.Errorf("%s: %q, %v", path, out, err)
		}
	}
}

func TestLock(t *testing.T) {
	w := two(t)
	out, err := tool(t, w, "lock", "bob", "-x", "echo $ctl_backups_lock_data_fname")
	if err != nil || out != "memory:default/backups/user/bob\nstderr: trying to obtain lock on bob...\n" {
		t.Errorf("%v: %q", err, out)
	}
	if out, err = tool(t, w, "lock", "-p", "bob"); err != nil || out != "* Trying to obtain lock on bob...\nOK locked\n" {
		t.Errorf("%v: %q", err, out)
	}
	if out, err = tool(t, w, "lock", "bob", "-x", "exit 3"); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v: %q", err, out)
	}
}

// The test "locks" of Cassandane: the second lock fails with exit status 75 and a message.
func TestLockHeld(t *testing.T) {
	w := two(t)
	f, err := w.Bucket("").Find(t.Context(), cli.ByUser, "bob")
	if err != nil {
		t.Fatal(err)
	}
	l, err := f.Lock(t.Context(), repository.LockOptions{Owner: "the test", Now: func() time.Time { return w.Now }})
	if err != nil {
		t.Fatal(err)
	}
	out, err := tool(t, w, "lock", "-u", "bob", "-x", "true")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "stderr: trying to obtain lock on bob...\nunable to lock bob: Mailbox is locked (by the test since ") {
		t.Errorf("%v: %q", err, out)
	}
	out, err = tool(t, w, "lock", "bob")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "\nNO failed (Mailbox is locked") {
		t.Errorf("%v: %q", err, out)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLockCreates(t *testing.T) {
	t.Parallel()
	w := two(t)
	if out, err := tool(t, w, "lock", "-c", "carol", "-x", "true"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := tool(t, w, "list", "carol"); err != nil || !strings.Contains(out, "default:user/carol") {
		t.Errorf("%v: %s", err, out)
	}
	out, err := tool(t, w, "lock", "-c", "carol", "-x", "true")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "object exists already") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestLockUsage(t *testing.T) {
	w := two(t)
	for _, argv := range []string{"lock", "lock a b", "lock -A", "lock -D example.org", "lock -p -x true bob", "list -p", "stat",
		"verify -t5 bob", "list -q", "verify -V bob", "list --delete", "stat --list bob", "passwd -A --list", "passwd --list --delete bob", "passwd --list bob",
		"passwd -j repl", "lock bob --execute=", "list --stale=-1"} {
		_, err := tool(t, w, strings.Fields(argv)...)
		var u *cli.UsageError
		if !errors.As(err, &u) {
			t.Errorf("%s: %v, want a usage error", argv, err)
		}
	}
}
