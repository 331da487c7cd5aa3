package restore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// anotherAnne gives the name of the backup's user to another person, with an empty INBOX.
func anotherAnne(t *testing.T, part repository.Config) {
	t.Helper()
	s, end := openSession(t, part)
	defer end()
	fields := []dlist.Pair{dlist.P("UNIQUEID", dlist.S("anotheranne")), dlist.P("MBOXNAME", dlist.S("user.anne"))}
	for _, key := range []string{"SYNC_CRC", "SYNC_CRC_ANNOT", "LAST_UID", "RECENTUID", "RECENTTIME", "LAST_APPENDDATE", "POP3_LAST_LOGIN", "POP3_SHOW_AFTER"} {
		fields = append(fields, dlist.P(key, dlist.N(0)))
	}
	for key, n := range map[string]uint64{"HIGHESTMODSEQ": 1, "UIDVALIDITY": 1790000000, "CREATEDMODSEQ": 1, "FOLDERMODSEQ": 1} {
		fields = append(fields, dlist.P(key, dlist.N(n)))
	}
	for _, key := range []string{"PARTITION", "ACL", "OPTIONS"} {
		fields = append(fields, dlist.P(key, dlist.S("")))
	}
	mb, _, err := cyrus.ParseMailbox(fields)
	if err == nil {
		err = s.ApplyMailbox(t.Context(), mb, cyrus.Since{}, func(func(*cyrus.Record, error) bool) {})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// messagesIn counts the messages below a directory of eml files.
func messagesIn(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".eml") {
			n++
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return n
}

// Another person has the name now. -a restores the mail of that person; --life restores the mail
// of the person before.
func TestLife(t *testing.T) {
	config, part := host(t)
	before := filepath.Join(t.TempDir(), "before")
	if code, said := program(t, "-C", config, "--to", "eml:"+before, "anne", "-a"); code != 0 || strings.Contains(said, "life") {
		t.Fatalf("status %d: %s", code, said)
	}
	anotherAnne(t, part)
	now := filepath.Join(t.TempDir(), "now")
	code, said := program(t, "-C", config, "--to", "eml:"+now, "anne", "-a")
	if code != 0 || !strings.Contains(said, "--life 1") || messagesIn(t, now) != 0 {
		t.Errorf("status %d, %d messages of the other user: %s", code, messagesIn(t, now), said)
	}
	first := filepath.Join(t.TempDir(), "first")
	code, said = program(t, "-C", config, "--to", "eml:"+first, "--life", "1", "anne", "-a")
	if want := messagesIn(t, before); code != 0 || said != "" || want == 0 || messagesIn(t, first) != want {
		t.Errorf("status %d, %d messages, want %d: %s", code, messagesIn(t, first), want, said)
	}
	for _, bad := range [][]string{{"--life", "3"}, {"--life", "-1"}, {"--life", "1", "--at", "yesterday"}} {
		code, said := program(t, append([]string{"-C", config, "--to", "eml:" + now, "anne", "-a"}, bad...)...)
		if code != 64 || !strings.Contains(said, "--life") {
			t.Errorf("%q: status %d: %s", bad, code, said)
		}
	}
}
