package imapdest_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

const (
	head  = "From: a@example.org\r\nMessage-ID: <same@example.org>\r\n\r\n"
	her   = head + "her body\r\n"
	the   = head + "the body\r\n"
	odd1  = head + "bare\nline\r\n"
	odd2  = head + "bare\r\nline\r\n"
	noEnd = head + "no end"
)

func backup(t *testing.T, bodies ...string) *restoretest.Backup {
	t.Helper()
	t.Parallel()
	b := restoretest.New(t, "anne")
	x := b.Box("user.anne")
	for i, body := range bodies {
		x.Deliver(body, 1600000000+int64(i))
	}
	b.Sync()
	return b
}

func sorted(l ...string) []string {
	slices.Sort(l)
	return l
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// crlf converts a message as Dovecot does.
func crlf(b []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
}

// A message with the same Message-ID and size but other bytes is a different message. A message
// with the same bytes is already present, whoever delivered it.
func TestDifferentMessageWithSameID(t *testing.T) {
	b := backup(t, her, the, noEnd, noEnd)
	s := new(server).start(t)
	s.deliver("INBOX", the)
	s.deliver("INBOX", noEnd)
	s.deliver("INBOX", head+"another\r\n")
	dir := t.TempDir()
	if r, err := s.restore(b, dir, true); err != nil || r.Added != 2 || r.There != 2 {
		t.Errorf("dry run: %+v, %v", r, err)
	}
	r := s.wants(b, dir, 2, 2, 0)
	if !slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, "2 messages were added although") }) {
		t.Errorf("no line about known Message-IDs: %q", r.lines)
	}
	s.wants(b, dir, 0, 4, 0)
	s.wants(b, "", 0, 4, 0)
	same(t, s.bodiesOf("INBOX"), sorted(her, the, noEnd, noEnd, head+"another\r\n"))
}

// A server that changes line ends gets every message once, with and without a journal, even two
// messages that become identical.
func TestServerChangesLineEnds(t *testing.T) {
	b := backup(t, odd1, odd2, the)
	s := (&server{changes: crlf}).start(t)
	dir := t.TempDir()
	r := s.wants(b, dir, 3, 0, 0)
	if !slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, "changed 1 message") }) {
		t.Errorf("no line about a changed message: %q", r.lines)
	}
	s.wants(b, dir, 0, 3, 0)
	s.wants(b, "", 0, 3, 0)
	same(t, s.bodiesOf("INBOX"), sorted(odd2, odd2, the))
}

// If a server is known to keep line ends, it has no message in a changed form: a lookalike is
// a different message.
func TestServerKeepsLineEnds(t *testing.T) {
	var bodies []string
	for i := range 1100 { // more than one batch: the first is examined before the last is sent
		bodies = append(bodies, head+"bare\n"+number(i)+"\r\n")
	}
	b := backup(t, append(bodies, odd1)...)
	s := new(server).start(t)
	s.deliver("INBOX", odd2)
	s.wants(b, t.TempDir(), 1101, 0, 0)
}

// If a server changes messages in unknown ways, the journal identifies them.
func TestServerMakesUnknownChanges(t *testing.T) {
	b := backup(t, her, the, odd1)
	s := (&server{changes: func(m []byte) []byte { return append([]byte("X-Was: here\r\n"), m...) }}).start(t)
	dir := t.TempDir()
	r := s.wants(b, dir, 3, 0, 0)
	if !slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, "3 messages in an unknown way") }) {
		t.Errorf("no line about unknown changes: %q", r.lines)
	}
	s.bodies.Store(0)
	s.wants(b, dir, 0, 3, 0)
	if n := s.bodies.Load(); n != 0 {
		t.Errorf("%d messages were read although the journal knows them", n)
	}
	r = s.wants(b, "", 3, 0, 0)
	if !slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, "3 messages were added although") }) {
		t.Errorf("no line about possible duplicates: %q", r.lines)
	}
}

// Wrong sizes do not hide messages.
func TestServerReportsWrongSizes(t *testing.T) {
	b := backup(t, her, the, odd1)
	s := (&server{lies: true}).start(t)
	dir := t.TempDir()
	s.wants(b, dir, 3, 0, 0)
	s.wants(b, dir, 0, 3, 0)
	s.wants(b, "", 0, 3, 0)
}

// A server without UIDPLUS does not report the uid of a new message.
func TestServerWithoutUIDPLUS(t *testing.T) {
	b := backup(t, her, the, odd1)
	s := (&server{noUID: true, changes: crlf}).start(t)
	dir := t.TempDir()
	s.wants(b, dir, 3, 0, 0)
	s.wants(b, dir, 0, 3, 0)
}

// A message that was removed from the server is restored again. A journal of another
// uidvalidity, a truncated one and a corrupt one do no harm.
func TestStaleJournal(t *testing.T) {
	b := backup(t, her, the)
	s := new(server).start(t)
	dir := t.TempDir()
	s.wants(b, dir, 2, 0, 0)
	files, err := filepath.Glob(dir + "/imap/*/*.jsonl")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	remove(t, s, "INBOX", 1)
	s.wants(b, dir, 1, 1, 0)
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for about, text := range map[string]string{
		"torn":              string(whole[:len(whole)-20]),
		"nonsense":          "\x00\x01\n\n{}\n",
		"other uidvalidity": strings.Replace(string(whole), `"uidvalidity":`, `"uidvalidity":9`, 1),
		"empty":             "",
	} {
		if err := os.WriteFile(files[0], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Log(about)
		s.wants(b, dir, 0, 2, 0)
		s.wants(b, dir, 0, 2, 0)
	}
	same(t, s.bodiesOf("INBOX"), sorted(her, the))
}

// A journal of another uidvalidity is ignored, even if messages have the same uids, sizes and
// dates.
func TestJournalOfAnotherUIDValidity(t *testing.T) {
	b := backup(t, her)
	first, dir := new(server).start(t), t.TempDir()
	first.wants(b, dir, 1, 0, 0)
	for _, renewed := range []bool{false, true} {
		s := (&server{renewed: renewed}).start(t)
		s.deliver("INBOX", the)
		journal(t, dir, first.addr, s.addr)
		added := 0
		if renewed {
			added = 1
		}
		s.wants(b, dir, added, 1-added, 0)
	}
}

// journal copies the journal of one server's INBOX to another server's.
func journal(t *testing.T, dir, from, to string) {
	t.Helper()
	files, err := filepath.Glob(dir + "/imap/*" + from + "/*.jsonl")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	path := strings.Replace(files[0], from, to, 1)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(from), []byte(to), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A connection that breaks between APPEND and its response leaves a message that no journal
// knows. The next run finds it and sets its missing flags.
func TestConnectionLostAfterAppend(t *testing.T) {
	t.Parallel()
	b := restoretest.New(t, "anne")
	x := b.Box("user.anne")
	for i := range 6 {
		x.Deliver(head+"bare\n"+number(i), 1600000000+int64(i), "$New"+number(i))
	}
	b.Sync()
	var lasting atomic.Bool // the server no longer hangs up; atomic because a hang-up orders nothing
	s := (&server{changes: crlf, hangUp: func(int) bool { return !lasting.Load() }}).start(t)
	dir := t.TempDir()
	for range 6 {
		if _, err := s.restore(b, dir, false); err == nil {
			t.Fatal("no error although the connection broke")
		}
	}
	lasting.Store(true)
	s.wants(b, dir, 0, 6, 0)
	if n := s.appends.Load(); n != 6 {
		t.Errorf("%d messages were sent", n)
	}
	want := []string{}
	for i := range 6 {
		want = append(want, "$new"+number(i))
	}
	same(t, s.flagsOf("INBOX"), want)
}

// Two concurrent restores into one folder would add every message twice, so the second skips it.
func TestTwoAtOnce(t *testing.T) {
	b := backup(t, her)
	s := new(server).start(t)
	dir := t.TempDir()
	var second run
	s.changes = func(m []byte) []byte { // while the first restore is running
		r, err := s.restore(b, dir, false)
		if err != nil {
			t.Error(err)
		}
		second = r
		return m
	}
	s.wants(b, dir, 1, 0, 0)
	if second.Added != 0 || len(second.problems) != 1 || !strings.Contains(second.problems[0], "another restore is writing to this folder") {
		t.Errorf("the second: %+v", second)
	}
}

// A journal that cannot be written is a warning only: the mail is restored.
func TestUnwritableJournal(t *testing.T) {
	b := backup(t, her)
	s := new(server).start(t)
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, added := range []int{1, 0} {
		r := s.wants(b, dir, added, 1-added, 0)
		if len(r.warnings) != 1 || !strings.Contains(r.warnings[0], "cannot use the journal") {
			t.Errorf("warnings %q", r.warnings)
		}
	}
}

// A journal is not written through a symbolic link.
func TestJournalIsLink(t *testing.T) {
	b := backup(t, her)
	s := new(server).start(t)
	dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.wants(b, dir, 1, 0, 0)
	var links int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		links++
		return errors.Join(os.Remove(path), os.Symlink(victim, path))
	})
	if err != nil || links == 0 {
		t.Fatal(links, err)
	}
	if r := s.wants(b, dir, 0, 1, 0); len(r.warnings) != 1 || !strings.Contains(r.warnings[0], "cannot use the journal") {
		t.Errorf("warnings %q", r.warnings)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}
