package ctlbackups

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// erase --message shows the message, asks, and removes it. It refuses a message that the user still has, or that the backup
// does not have. compact removes the bytes in the next night.
func TestEraseMessage(t *testing.T) {
	w := tooltest.New(t, "default", "cold")
	bob := tooltest.NewMailbox("user.bob")
	var guids []string
	for _, subject := range []string{"kept", "deleted SECRETWORD"} {
		r := bob.Deliver(tooltest.Mail(subject, "carol@example.org", 9000), w.Now)
		guids = append(guids, r.GUID.String())
	}
	w.Sync(bob)
	first := w.Now
	w.Now = w.Now.Add(time.Hour)
	bob.Expunge(2)
	w.Sync(bob)
	argv := []string{"erase", "bob", "--reason", "request", "--message", guids[1]}
	if out, err := answering(t, w, "bob\n", argv...); err == nil || !strings.Contains(out, "is too young to be changed, or an earlier commit is: that is possible after ") {
		t.Errorf("young: %v: %s", err, out)
	}
	w.Now = w.Now.Add(5 * 24 * time.Hour)
	if out, err := answering(t, w, "bob\n", "erase", "bob", "--reason", "request", "--message", guids[0]); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "the user still has it, in user.bob: delete it on the mail server") {
		t.Errorf("live: %v: %s", err, out)
	}
	unknown := strings.Repeat("ab", 20)
	if out, err := answering(t, w, "bob\n", "erase", "bob", "--reason", "request", "--message", unknown); !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "no moment of the backup has") {
		t.Errorf("unknown: %v: %s", err, out)
	}
	if out, err := toolWith(t, w, "", append([]string{"erase", "-n"}, argv[1:]...)...); err != nil || !strings.Contains(out, "message "+guids[1]) || !strings.Contains(out, "is removed from every moment") {
		t.Errorf("dry run: %v: %s", err, out)
	}
	if out, err := answering(t, w, "no\n", argv...); err == nil || !strings.Contains(out, "not confirmed") {
		t.Errorf("answered no: %v: %s", err, out)
	}
	if out, err := toolWith(t, w, "", append([]string{"-j"}, append(argv, "-n")...)...); err != nil || !strings.Contains(out, fmt.Sprintf(`"guid": %q`, guids[1])) {
		t.Errorf("JSON: %v: %s", err, out)
	}
	if out, err := answering(t, w, "bob\n", argv...); err != nil || !strings.Contains(out, "erase bob: default: removed message "+guids[1]) {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := toolWith(t, w, "", append(argv, "--cancel", "--yes")...); err == nil || !strings.Contains(out, "it can be completed") {
		t.Errorf("cancel: %v: %s", err, out)
	}
	if out, err := toolWith(t, w, "", "erase", "bob", "--yes", "--reason", "x", "--before", w.Now.Add(-4*24*time.Hour).Format(time.RFC3339)); err == nil || !strings.Contains(out, "before another part is erased") {
		t.Errorf("beside it, --before: %v: %s", err, out)
	}
	if out, err := toolWith(t, w, "", "move", "bob", "cold"); err == nil || !strings.Contains(out, "erasure of a part of it is not complete") {
		t.Errorf("move: %v: %s", err, out)
	}
	w.Now = w.Now.Add(15 * time.Hour)
	if out, err := toolWith(t, w, "", "compact", "-A"); err != nil || !strings.Contains(out, "and the bodies in ") {
		t.Errorf("compact: %v: %s", err, out)
	}
	if out, err := toolWith(t, w, "", "erase", "--list"); err != nil || !strings.Contains(out, "\tdone\tdefault:bob\t") || !strings.Contains(out, guids[1]) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := toolWith(t, w, "", "verify", "-v", "bob"); err != nil || !strings.Contains(out, "1 erased message") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := toolWith(t, w, "", append(argv, "--yes")...); err != nil || !strings.Contains(out, "was erased on ") {
		t.Errorf("again: %v: %s", err, out)
	}
	if out, err := toolWith(t, w, "", "move", "bob", "cold"); err != nil {
		t.Errorf("move: %v: %s", err, out)
	}
	m, err := history.Load(t.Context(), w.Parts[1].Store, "user/bob", history.Moment{Time: first, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for s, err := range m.Messages() {
		if err != nil {
			t.Fatal(err)
		}
		r, err := history.OpenMessage(t.Context(), history.NewObjects(w.Parts[1].Store, 0), s, m.Places)
		if err == nil {
			_ = r.Close()
		}
		if erased := errors.As(err, new(*history.ErasedError)); erased != (s.GUID.String() == guids[1]) || !erased && err != nil {
			t.Errorf("after a move, message %s at %s: %v", s.GUID, first, err)
		}
	}
}

func TestEraseMessageUsage(t *testing.T) {
	w := tooltest.New(t, "default")
	for _, argv := range [][]string{{"--message", "x"}, {"--message", strings.Repeat("ab", 20), "--before", "2020-01-01"}, {"anne", "--message", strings.Repeat("ab", 20)}} {
		out, err := toolWith(t, w, "", append([]string{"erase", "bob", "--yes", "--reason", "x"}, argv...)...)
		if u := (*cli.UsageError)(nil); !errors.As(err, &u) {
			t.Errorf("%v: %v: %s", argv, err, out)
		}
	}
}
