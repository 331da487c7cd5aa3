package ctlbackups

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// list -t leaves out users whose mail server is in contact, although nothing changes for them: by the
// contacts in the bucket, and by the daemon's index.
func TestStaleByContact(t *testing.T) {
	w := two(t)
	put := func(at time.Duration, more int, unreached ...repository.Refusal) {
		t.Helper()
		c := repository.Contact{Client: "repl [192.0.2.1]", Host: "backup1", Last: w.Now.Add(-at), Unreached: unreached, More: more}
		if err := c.Put(t.Context(), w.Parts[0].Store); err != nil {
			t.Fatal(err)
		}
	}
	stale := func(when, want string) {
		t.Helper()
		out, err := tool(t, w, "list", "-t", "--ndjson", "--from-bucket")
		if err != nil {
			t.Fatal(err)
		}
		var users []string
		for _, user := range []string{"anne@example.org", "bob"} {
			if strings.Contains(out, `"userid":"`+user+`"`) {
				users = append(users, user)
			}
		}
		if got := strings.Join(users, " "); got != want {
			t.Errorf("%s: %q is stale, want %q:\n%s", when, got, want, out)
		}
	}
	stale("without a contact", "anne@example.org bob")
	put(time.Hour, 0)
	stale("after a contact", "")
	put(time.Hour, 0, repository.Refusal{Backup: "user/bob"})
	stale("if bob was refused", "bob")
	put(time.Hour, 1)
	stale("if somebody else was refused", "anne@example.org bob")
	put(25*time.Hour, 0)
	stale("after a day", "anne@example.org bob")

	indexDaemon(t, w)
	if err := w.Set.FlushContacts(); err != nil {
		t.Fatal(err)
	}
	if out, err := tool(t, w, "list", "-t"); err != nil || strings.Count(out, ":user/") != 2 {
		t.Errorf("by the index, after %v: %v\n%s", 30*time.Hour, err, out)
	}
	m := tooltest.NewMailbox("user.carol")
	w.Sync(m)
	if err := w.Set.FlushContacts(); err != nil {
		t.Fatal(err)
	}
	if out, err := tool(t, w, "list", "-t"); err != nil || strings.Contains(out, ":user/") {
		t.Errorf("by the index, after a contact: %v\n%s", err, out)
	}
}

// Contacts and runs are no part of a repository: damaged ones, or of a newer version, change nothing but
// status and list -t.
func TestRecordsAreIgnored(t *testing.T) {
	w := two(t)
	commands := [][]string{{"list", "--from-bucket", "-A"}, {"stat", "--from-bucket", "-A"}, {"verify", "-A"}, {"compact", "-n", "-A"}, {"list", "--holds"}}
	run := func() (all string) {
		for _, argv := range commands {
			out, err := tool(t, w, argv...)
			if err != nil {
				t.Errorf("%v: %v", argv, err)
			}
			all += out
		}
		return all
	}
	before := run()
	for _, key := range []string{"contacts/0123.json", "contacts/4567.json", "runs/verify.json", "runs/other.json"} {
		for _, text := range []string{"{", `{"version":9}`} {
			if _, err := w.Parts[0].Store.Put(t.Context(), key, bytes.NewReader([]byte(text)), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if after := run(); after != before {
				t.Errorf("with %s:\n%s\nbefore:\n%s", key, after, before)
			}
		}
	}
	if out, err := tool(t, w, "list", "-t", "--from-bucket"); err != nil || strings.Count(out, "warning: partition default: the last contact of a mail server is unknown: ") != 2 {
		t.Errorf("list -t: %v\n%s", err, out)
	}
}
