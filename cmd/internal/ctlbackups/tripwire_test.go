package ctlbackups

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// massDeletion makes a backup of bob with ten messages. Six of them are deleted within an hour.
func massDeletion(t *testing.T) *tooltest.World {
	w := tooltest.New(t, "default")
	m := tooltest.NewMailbox("user.bob")
	for i := range 10 {
		m.Deliver(tooltest.Mail(fmt.Sprint("message ", i), "carol@example.org", 300), w.Now)
	}
	w.Sync(m)
	w.Now = w.Now.AddDate(0, 0, 3)
	for _, r := range m.Records[:6] {
		m.Flag(r.UID, `\Expunged`)
		w.Sync(m)
	}
	// Other changes give retention something to do.
	for range 8 {
		w.Now = w.Now.AddDate(0, 0, 5)
		m.Deliver(tooltest.Mail(w.Now.String(), "carol@example.org", 300), w.Now)
		w.Sync(m)
	}
	return w
}

const fewMessages = "backup_retention: 10d\nbackup_tripwire: 30% 1d 5\n"

// Before compact removes deleted mail, it looks for mass deletions, however long ago they were. It
// places a hold, writes a line at level err, and removes nothing until release.
func TestCompactTripwire(t *testing.T) {
	w := massDeletion(t)
	socket := filepath.Join(t.TempDir(), "log")
	daemon, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	run := func(argv ...string) string {
		t.Helper()
		var out bytes.Buffer
		c := &command{ctx: t.Context(), now: w.Now, clock: func() time.Time { return w.Now }, in: strings.NewReader(""), out: &out, err: &out,
			open:  func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(fewMessages), nil },
			audit: cli.Audit{Tool: "ctl_backups", Socket: socket}}
		if err := c.run(argv); err != nil {
			t.Errorf("%v: %v: %s", argv, err, out.String())
		}
		return out.String()
	}
	keys := func() string {
		var all []string
		for k := range w.Keys("backups/user/bob/") {
			if !strings.HasSuffix(k, "/upkeep.json") && !strings.HasSuffix(k, "/holds.json") {
				all = append(all, k)
			}
		}
		return strings.Join(all, "\n")
	}
	run("compact", "-A") // merges, and finds the deletions
	buf := make([]byte, 4096)
	n, err := daemon.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	const err3 = "<19>" // LOG_MAIL, LOG_ERR
	if line := string(buf[:n]); !strings.HasPrefix(line, err3) || !strings.Contains(line, "much of the mail of this backup was deleted") || !strings.Contains(line, "deleted=6 of=10") {
		t.Errorf("syslog has %q", line)
	}
	if out := run("list", "--holds"); !strings.Contains(out, "\ton hold: placed by the tripwire of ctl_backups compact on ") || !strings.Contains(out, ": 6 of 10 messages were deleted between ") {
		t.Errorf("list --holds: %s", out)
	}
	was := keys()
	w.Now = w.Now.AddDate(0, 0, 30)
	if out := run("compact", "bob"); !strings.Contains(out, "compact bob: on hold\n") {
		t.Errorf("the next night: %s", out)
	}
	if is := keys(); is != was {
		t.Errorf("on hold, the objects change from\n%s\nto\n%s", was, is)
	}
	run("release", "bob")
	if out := run("compact", "bob"); !strings.Contains(out, "compact bob: ok\n") {
		t.Errorf("released: %s", out)
	}
	if is := keys(); is == was {
		t.Error("nothing was removed after the release")
	}
}

// Without the rule, and with a rule that is not reached, compact removes what it may.
func TestCompactTripwireQuiet(t *testing.T) {
	for _, rule := range []string{"no", "30% 1d 500", "70% 1d 5"} {
		w := massDeletion(t)
		out, err := toolWith(t, w, "backup_retention: 10d\nbackup_tripwire: "+rule+"\n", "compact", "bob")
		if err != nil || !strings.Contains(out, "compact bob: ok\n") {
			t.Errorf("%s: %v: %s", rule, err, out)
		}
	}
}

// If the backup cannot be read completely, nothing is known about deletions, and nothing is removed.
func TestCompactTripwireUnreadable(t *testing.T) {
	w := massDeletion(t)
	if out, err := toolWith(t, w, "backup_tripwire: no\n", "compact", "-A"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for key := range w.Keys("backups/user/bob/log/") {
		w.Damage(key)
		break
	}
	if out, err := toolWith(t, w, fewMessages, "compact", "bob"); err == nil || !strings.Contains(out, "compact bob: failed (") {
		t.Errorf("%v: %s", err, out)
	}
}

// The window of the deletions may begin before the history that is kept.
func TestCompactTripwireAtTheCut(t *testing.T) {
	w := tooltest.New(t, "default")
	m := tooltest.NewMailbox("user.bob")
	deliver := func(n int) {
		for range n {
			m.Deliver(tooltest.Mail(fmt.Sprint("message ", m.LastUID), "carol@example.org", 300), w.Now)
		}
		w.Sync(m)
	}
	deliver(10)
	const part = 30 * 60 * 60 // seconds: windows of 30 days begin at a multiple
	begin := time.Unix((w.Now.Unix()/part+4)*part, 0).UTC()
	w.Now = begin.Add(time.Hour)
	deliver(1)
	w.Now = begin.Add(26 * time.Hour) // another day, so that the log can end between them
	for _, r := range m.Records[:6] {
		m.Flag(r.UID, `\Expunged`)
		w.Sync(m)
	}
	for range 2 {
		w.Now = w.Now.AddDate(0, 0, 3)
		deliver(1)
	}
	if out, err := toolWith(t, w, "", "compact", "bob"); err != nil { // segments must be two days old
		t.Fatalf("%v: %s", err, out)
	}
	w.Now = begin.Add(25*time.Hour).AddDate(0, 0, 10) // commit 2 is the last before the kept days
	if out, err := toolWith(t, w, "backup_retention: 10d\nbackup_tripwire: no\n", "compact", "-v", "bob"); err != nil || !strings.Contains(out, "the history up to commit 2 (") {
		t.Fatalf("%v: %s", err, out)
	}
	w.Now = w.Now.AddDate(0, 0, 5)
	if out, err := toolWith(t, w, "backup_retention: 10d\nbackup_tripwire: 30% 30d 5\n", "compact", "bob"); err != nil || !strings.Contains(out, "6 of 11 messages were deleted") {
		t.Errorf("%v: %s", err, out)
	}
}
