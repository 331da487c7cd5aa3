package restore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// village is a partition in a directory with the backups of some users. Each has ten messages,
// one of this week, the others older.
func village(t *testing.T, users ...string) (config, store string) {
	w := tooltest.New(t, "default")
	now := time.Now()
	for _, u := range users {
		m := tooltest.NewMailbox(u)
		m.Deliver(tooltest.Mail(u+" new", "x@example.org", 500), now.Add(-time.Hour))
		for i := range 9 {
			m.Deliver(tooltest.Mail(fmt.Sprint(u, i), "x@example.org", 500), now.AddDate(0, -i, -8))
		}
		w.Sync(m)
	}
	dir := t.TempDir()
	store = filepath.Join(dir, "store")
	tooltest.Export(t, w, store)
	return conf(t, dir, "imapd.conf", store), store
}

// restoreAll runs restore and returns its output, its messages and its exit status.
func restoreAll(t *testing.T, argv ...string) (out, complaint string, status int) {
	var o, c bytes.Buffer
	status = cli.Main("restore", "", &c, func(ctx context.Context) error {
		return run(ctx, argv, stdio{strings.NewReader(""), &o, &c, cli.Audit{}})
	})
	return o.String(), c.String(), status
}

func messages(t *testing.T, dir string) (n int) {
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
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

// All users are restored except the user with a damaged backup. The next run skips finished
// backups.
func TestBatch(t *testing.T) {
	config, store := village(t, "user.anne", "user.bob", "user.carol", "news.local")
	lost := filepath.Join(store, "backups/user/bob/log/0000000000000001.tar.zst")
	kept, err := os.ReadFile(lost)
	if err == nil {
		err = os.Remove(lost)
	}
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	argv := []string{"-C", config, "--to", "eml:" + to, "--parallel", "3", "--resume", filepath.Join(t.TempDir(), "done"), "-A"}
	out, said, status := restoreAll(t, argv...)
	if status != 75 || !strings.Contains(out, "3 backups done, 0 done before, 1 failed: 30 messages added") || !strings.Contains(out, "not complete:\n  user/bob") || !strings.Contains(out, "ctl_backups verify bob") {
		t.Errorf("status %d: %s%s", status, out, said)
	}
	for who, want := range map[string]int{"user/anne": 10, "user/bob": 0, "user/carol": 10, "shared/news": 10} {
		if n := messages(t, filepath.Join(to, who)); n != want {
			t.Errorf("%s has %d messages, want %d", who, n, want)
		}
	}
	if err := os.WriteFile(lost, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	out, said, status = restoreAll(t, argv...)
	if status != 0 || !strings.Contains(out, "1 backup done, 3 done before, 0 failed: 10 messages added") || messages(t, to) != 40 {
		t.Errorf("again: status %d: %s%s", status, out, said)
	}
	if _, said, status = restoreAll(t, append(argv[:len(argv)-1:len(argv)-1], "-P", "a")...); status != 64 || !strings.Contains(said, "the file belongs to another restore") {
		t.Errorf("the notes of another restore: status %d: %s", status, said)
	}
}

// A user with deleted mail is reported.
func TestBatchReportsDeletions(t *testing.T) {
	config, store := village(t, "user.anne", "user.bob")
	parts := []repository.Config{{Name: "default", Location: store, Store: opened(t, store)}}
	unuser(t, parts[0], "bob")
	to := t.TempDir()
	out, said, status := restoreAll(t, "-C", config, "--to", "eml:"+to, "-A")
	if status != 0 || !strings.Contains(out+said, "10 other messages were deleted since") || !strings.Contains(out+said, "-f user/bob -a") {
		t.Errorf("status %d: %s%s", status, out, said)
	}
}

// Only the users of a domain, or with a prefix.
func TestBatchOf(t *testing.T) {
	config, _ := village(t, "user.anne", "user.alma", "example.org!user.bob", "news.local")
	for _, c := range []struct {
		argv string
		want string
	}{
		{"--prefix a", "user/alma user/anne"}, {"-P a", "user/alma user/anne"}, {"-P an", "user/anne"},
		{"--domain example.org", "user/bob@example.org"}, {"-D example.org", "user/bob@example.org"}, {"-D none", ""},
	} {
		to := t.TempDir()
		out, said, status := restoreAll(t, append([]string{"-C", config, "--json", "--to", "eml:" + to}, strings.Fields(c.argv)...)...)
		var got []string
		if c.want == "" && !strings.Contains(said, "domain none: no such backup") {
			t.Errorf("%s: %s", c.argv, said)
		}
		for line := range strings.Lines(out) {
			var r struct{ Backup, Result string }
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if r.Backup != "" {
				got = append(got, r.Backup)
			}
		}
		wantStatus := 0
		if c.want == "" {
			wantStatus, out = 75, "" // and no report
		}
		if strings.Join(got, " ") != c.want || status != wantStatus {
			t.Errorf("%s: %q, status %d: %s%s", c.argv, got, status, out, said)
		}
	}
}

// The newest mail of all users comes before older mail of any user. No message comes twice.
func TestBatchNewestFirst(t *testing.T) {
	config, _ := village(t, "user.anne", "user.bob")
	to := t.TempDir()
	out, said, status := restoreAll(t, "-C", config, "--newest-first", "--to", "maildir:"+to, "-A")
	var added []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); strings.HasPrefix(line, "user/") {
			added = append(added, f[0]+" "+f[2])
		}
	}
	want := "user/anne 1, user/bob 1, user/anne 1, user/bob 1, user/anne 8, user/bob 8, user/anne 0, user/bob 0"
	if strings.Join(added, ", ") != want || status != 0 || !strings.Contains(out, "20 messages added") {
		t.Errorf("status %d, %q, want %q: %s%s", status, added, want, out, said)
	}
}

// An unreachable server is retried for a while. Then the other users are not tried.
func TestBatchUnreachableServer(t *testing.T) {
	config, _ := village(t, "user.anne", "user.bob")
	var out, complaint bytes.Buffer
	std := stdio{strings.NewReader(""), &out, &complaint, cli.Audit{}}
	o, err := parse(t.Context(), []string{"-C", config, "127.0.0.1:1", "-A"}, std, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b, err := cli.Open(t.Context(), config, "restore")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	err = (&batch{options: o, bucket: b, std: std, now: time.Now(), longestPause: 16 * time.Millisecond}).run(t.Context())
	if !errors.Is(err, cli.ErrReported) || strings.Count(out.String(), "not tried") != 2 || !strings.Contains(out.String(), "0 backups done, 0 done before, 2 failed") {
		t.Errorf("%v: %s%s", err, &out, &complaint)
	}
}

// All runs restore the moment of the first run. A foreign file is not changed.
func TestBatchResumesTheMoment(t *testing.T) {
	config, _ := village(t, "user.anne", "user.bob")
	file := filepath.Join(t.TempDir(), "done")
	argv := []string{"-C", config, "--to", "mbox:" + t.TempDir(), "--since", "3h ago", "--resume", file, "-A"}
	if out, said, status := restoreAll(t, argv...); status != 0 || !strings.Contains(out, "2 backups done, 0 done before") {
		t.Fatalf("status %d: %s%s", status, out, said)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out, said, status := restoreAll(t, argv...); status != 0 || !strings.Contains(out, "0 backups done, 2 done before") {
		t.Errorf("status %d: %s%s", status, out, said)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("%s, then %s: %v", before, after, err)
	}
	head, _, _ := bytes.Cut(before, []byte("\n"))
	o := &options{chosen: &chosenUsers{}, toFiles: "mbox", server: strings.TrimPrefix(argv[3], "mbox:"), asked: map[string]string{"--since": "3h ago"}}
	later := time.Now().Add(time.Hour)
	f, err := openResumeFile(file, o, later)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil || !o.moment.Time.Before(later) || o.selection.Since.IsZero() {
		t.Errorf("%v: %s gives %v since %v", err, head, o.moment.Time, o.selection.Since)
	}
	if _, said, status := restoreAll(t, append([]string{"-X"}, argv...)...); status != 64 || !strings.Contains(said, "another restore") {
		t.Errorf("other options: status %d: %s", status, said)
	}
	for _, text := range []string{"Dear anne,\n", "no line end", "{}\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, said, status := restoreAll(t, argv...)
		if b, err := os.ReadFile(file); status != 64 || err != nil || string(b) != text {
			t.Errorf("status %d, %q, %v: %s", status, b, err, said)
		}
	}
}

// A user without a backup at the moment has nothing to restore. This is not a failure.
func TestBatchBeforeTheFirst(t *testing.T) {
	config, _ := village(t, "user.anne")
	if out, said, status := restoreAll(t, "-C", config, "--at", "2001-01-01", "--to", "eml:"+t.TempDir(), "-A"); status != 0 || !strings.Contains(out, "1 backup done") {
		t.Errorf("status %d: %s%s", status, out, said)
	}
}

// A symbolic link in the place of a user's directory is not followed.
func TestBatchFollowsNoLink(t *testing.T) {
	config, _ := village(t, "user.anne", "user.bob")
	to, elsewhere := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(to, "user"), 0o700), os.Symlink(elsewhere, filepath.Join(to, "user/anne"))); err != nil {
		t.Fatal(err)
	}
	if out, _, status := restoreAll(t, "-C", config, "--to", "eml:"+to, "-A"); status != 75 || !strings.Contains(out, "user/anne                        failed: ") || messages(t, to) != 10 {
		t.Errorf("status %d: %s", status, out)
	}
	if n := messages(t, elsewhere); n != 0 {
		t.Errorf("%d messages elsewhere", n)
	}
}
