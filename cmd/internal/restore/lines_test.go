package restore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// asProgram makes the test binary run restore, for tests that need a process.
const asProgram = "RESTORE_TEST_AS_PROGRAM"

// host is an imapd.conf with a backup of anne in a directory.
func host(t *testing.T) (config string, part repository.Config) {
	dir := t.TempDir()
	store, err := dirstore.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(filepath.Join(dir, "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	part = repository.Config{Name: "default", Location: filepath.Join(dir, "store"), Store: store}
	set, err := partitions.Open(partitions.Options{Index: x, Host: "host", Software: "test", Partitions: []repository.Config{part}})
	if err != nil {
		t.Fatal(err)
	}
	u := &largeUser{t: t, s: session.New(set, session.Who{Connection: "c1", Client: "test"})}
	u.deliver(100)
	u.change(1)
	u.s.Close()
	if err := errors.Join(set.Close(), x.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return conf(t, dir, "imapd.conf", part.Location), part
}

func conf(t *testing.T, dir, name, location string) string {
	path := filepath.Join(dir, name)
	text := "configdirectory: " + dir + "\nrestore_authname: repl\nrestore_password: x\nbackuppartition-default: " + location + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// program runs restore and returns its exit status and standard error.
func program(t *testing.T, argv ...string) (int, string) {
	var out, complaint bytes.Buffer
	code := cli.Main("restore", (&given{options: &options{}}).commandLine().Usage(), &complaint, func(ctx context.Context) error {
		return run(ctx, argv, stdio{strings.NewReader(""), &out, &complaint, cli.Audit{}})
	})
	return code, complaint.String()
}

// TestErrorLines: each failure has one line with the reason, and the exit status of the manual
// page.
func TestErrorLines(t *testing.T) {
	config, part := host(t)
	to := filepath.Join(t.TempDir(), "to")
	files := func(objects ...string) []string { return append([]string{"--to", "maildir:" + to, "anne"}, objects...) }
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	away := conf(t, t.TempDir(), "away.conf", "minio://127.0.0.1:1/bucket?tls=no")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		about, config string
		argv          []string
		status        int
		says          string // part of the line
	}{
		{"a user without a backup", config, []string{"--to", "maildir:" + to, "nobody", "-a"}, 75, "nobody"},
		{"a mailbox that is not there", config, files("user/anne/Nothing"), 75, "user/anne/Nothing: no such mailbox"},
		{"a message that is not there", config, files(strings.Repeat("0", 40)), 75, "no message with this GUID in the backup"},
		{"a path that is not there", config, []string{"--to", "maildir:" + to, "-f", "user/x", "-a"}, 75, "backups/user/x"},
		{"a time before the first backup", config, append([]string{"--at", "2001-01-01"}, files("-a")...), 75, "cyr_backup anne list chunks shows the available times"},
		{"a commit that is not there", config, append([]string{"--commit", "99"}, files("-a")...), 75, "99"},
		{"a server that does not answer", config, []string{"127.0.0.1:1", "anne", "-a"}, 75, "cannot restore to 127.0.0.1:1"},
		{"a server without a name", config, []string{"no.such.host.invalid", "anne", "-a"}, 75, "cannot restore to no.such.host.invalid"},
		{"an IMAP server that does not answer", config, []string{"--to", "imap://anne@127.0.0.1:1/?tls=no", "--password-file", file, "anne", "-a"}, 75, "127.0.0.1:1"},
		{"a store that does not answer", away, files("-a"), 75, "127.0.0.1:1"},
		{"a directory that cannot be made", config, []string{"--to", "maildir:" + file + "/x", "anne", "-a"}, 75, file},
		{"no configuration", config + "x", files("-a"), 78, "imapd.confx"},
		{"no partition", conf(t, t.TempDir(), "imapd.conf", "nowhere://x"), files("-a"), 78, "backuppartition-default"},
		{"no objects", config, files(), 64, "name what to restore"},
		{"a map of no mailbox", config, append([]string{"--map", "user/anne/None=user/anne/X"}, files("-a")...), 64, "no mailbox of this restore is"},
	} {
		t.Run(tt.about, func(t *testing.T) {
			status, said := program(t, append([]string{"-C", tt.config}, tt.argv...)...)
			first, rest, _ := strings.Cut(said, "\n")
			if status != tt.status || !strings.HasPrefix(first, "restore: ") || !strings.Contains(first, tt.says) || rest != "" && status != 64 {
				t.Errorf("status %d, want %d; messages:\n%s", status, tt.status, said)
			}
		})
	}
	t.Run("a locked backup is read", func(t *testing.T) {
		found, err := repository.Find(t.Context(), []repository.Config{part}, repository.UserName("anne"))
		if err != nil {
			t.Fatal(err)
		}
		lock, err := found.Lock(t.Context(), repository.LockOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = lock.Release(context.WithoutCancel(t.Context())) }()
		if status, said := program(t, append([]string{"-C", config}, files("-a")...)...); status != 0 || said != "" {
			t.Errorf("status %d: %s", status, said)
		}
	})
}

// TestFullDisk restores to a disk that is too small, with each kind of file.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	config, _ := host(t)
	t.Run("all users", func(t *testing.T) { fullForAll(t) })
	for _, kind := range []string{"maildir:%/x", "mbox:%/x", "eml:%/x", "tar:%/x.tar", "tar:%/x.tar.zst"} {
		t.Run(kind, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			disk := t.TempDir()
			// The mount is visible only to the process, and ends with it.
			cmd := exec.CommandContext(ctx, "unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=64k none "$0" && exec "$@"`,
				disk, os.Args[0], "-C", config, "--to", strings.Replace(kind, "%", disk, 1), "anne", "-a")
			cmd.Env = append(os.Environ(), asProgram+"=1")
			var complaint bytes.Buffer
			cmd.Stderr = &complaint
			err := cmd.Run()
			var exit *exec.ExitError
			said := complaint.String()
			if !errors.As(err, &exit) || exit.ExitCode() != cli.ExitTemporary || strings.Count(said, "\n") != 1 ||
				!strings.HasPrefix(said, "restore: the disk is full: free space and run the restore again: ") {
				t.Errorf("%v; messages:\n%s", err, said)
			}
		})
	}
}

// fullForAll checks that no other user is tried when the disk is full.
func fullForAll(t *testing.T) {
	config, _ := village(t, "user.anne", "user.bob", "user.carl")
	disk := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=16k none "$0" && exec "$@"`,
		disk, os.Args[0], "-C", config, "--to", "eml:"+disk, "-A")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != cli.ExitTemporary || strings.Count(string(out), "the disk is full") != 2 || strings.Count(string(out), "not tried") != 4 {
		t.Errorf("%v; messages:\n%s", err, out)
	}
}
