package files_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

// readMessage is the output of testdata/read.py for a message.
type readMessage struct {
	Folder, Subject, Flags string
	Keywords               []string
	Date                   int64
}

// program returns the path of a program that test/deps.sh installs.
func program(t *testing.T, name string) string {
	path, err := exec.LookPath(name)
	switch {
	case err != nil && testing.Short():
		t.Skipf("%s is not installed", name)
	case err != nil:
		t.Fatalf("%s is not installed: make deps", name)
	}
	return path
}

func output(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(program(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return out
}

// Python's mailbox module and mblaze find the messages, flags, keywords and dates.
func TestOtherReaders(t *testing.T) {
	b := restoretest.New(t, "anne")
	flags := [][]string{nil, {`\Seen`}, {`\Seen`, `\Answered`, "$Label1"}, {`\Flagged`, "Work", "$Label1"}, {`\Draft`}, {`\Deleted`}}
	folders := map[string][2]string{ // in the Maildir, and the mbox
		"user.anne": {"", "INBOX.mbox"}, "user.anne.Entw&APw-rfe": {"Entw&APw-rfe", "Entwürfe.mbox"}, "user.anne.Sent^mbox": {"Sent^mbox", "Sent%2Embox.mbox"}}
	var asMaildir, asMbox []readMessage
	for name, at := range folders {
		box := b.Box(name)
		for i, f := range flags {
			subject := fmt.Sprint(at[0], i)
			date := int64(i)*400_000_000 + 40_000_000 // from 1971 to after 2032
			box.Deliver(restoretest.Mail(subject), date, f...)
			asMaildir = append(asMaildir, readMessage{at[0], subject, [...]string{"", "S", "RS", "F", "D", "T"}[i], words(f), date})
			asMbox = append(asMbox, readMessage{at[1], subject, [...]string{"O", "OR", "AOR", "FO", "OT", "DO"}[i], words(f), date})
		}
	}
	b.Sync()
	src, dir := b.Source(time.Time{}), t.TempDir()
	for kind, want := range map[string][]readMessage{"maildir": asMaildir, "mbox": asMbox} {
		to := filepath.Join(dir, kind)
		if _, err := run(t, src, kind, to); err != nil {
			t.Fatal(err)
		}
		got := decode(t, output(t, "python3", "testdata/read.py", kind, to))
		if !slices.EqualFunc(sorted(got), sorted(want), same) {
			t.Errorf("%s: Python reads %+v, want %+v", kind, got, want)
		}
	}
	for name, at := range folders {
		folder := filepath.Join(dir, "maildir", strings.TrimSuffix("."+at[0], "."))
		all, seen := output(t, "mlist", folder), output(t, "mlist", "-S", folder)
		if bytes.Count(all, []byte("\n")) != len(flags) || bytes.Count(seen, []byte("\n")) != 2 {
			t.Errorf("%s: mblaze lists\n%s as seen it lists\n%s", name, all, seen)
		}
	}
}

func words(flags []string) []string {
	out := slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f[0] == '\\' })
	slices.Sort(out)
	return out
}

func decode(t *testing.T, b []byte) (out []readMessage) {
	for line := range bytes.Lines(b) {
		var m readMessage
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

func sorted(list []readMessage) []readMessage {
	return slices.SortedFunc(slices.Values(list), func(a, b readMessage) int {
		return strings.Compare(a.Folder+"\x00"+a.Subject, b.Folder+"\x00"+b.Subject)
	})
}

func same(a, b readMessage) bool {
	return a.Folder == b.Folder && a.Subject == b.Subject && a.Flags == b.Flags && slices.Equal(a.Keywords, b.Keywords) && a.Date == b.Date
}
