package programs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/doctor"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
)

// asProgram makes the test binary one of the programs, for runs as another user.
const asProgram = "BACKUP_PROGRAMS_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if os.Getenv(doctor.FactsVariable) != "" { // doctor checks as the daemon's user
		os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// readers are the commands that only read, by their arguments after -C FILE.
var readers = []string{
	"ctl_backups list", "ctl_backups list -t", "ctl_backups list --holds", "ctl_backups list --from-bucket -j", "ctl_backups stat -h -A",
	"ctl_backups cost -h --backups", "ctl_backups verify -A", "ctl_backups verify -q -A", "ctl_backups verify -q anne", "ctl_backups drill", "ctl_backups verify --repair -n anne",
	"ctl_backups doctor", "ctl_backups doctor --client", "ctl_backups compact -n -A", "ctl_backups erase -n anne", "ctl_backups erase --list",
	"cyr_backup anne list mailboxes", "cyr_backup anne list chunks", "cyr_backup anne log", "cyr_backup anne find subject:x",
	"restore -n -v --to maildir:OUT anne -a", "restore -n -v --to maildir:OUT -A",
}

// unprivileged is the user that runs the commands a second time if the test runs as root.
const unprivileged = 65534

// A tool that reads creates nothing, whoever runs it: what root made before the server's first start
// would lock the server's user out.
func TestReadersCreateNothing(t *testing.T) {
	backups := func(t *testing.T, spool string) {
		w := tooltest.New(t, "default")
		m := tooltest.NewMailbox("user.anne")
		m.Deliver(tooltest.Mail("x", "carol@example.org", 3000), time.Now())
		w.Sync(m)
		tooltest.Export(t, w, spool)
		store, err := dirstore.Open(spool) // as the server does, which makes the clock
		if err == nil {
			err = store.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, set := range map[string]func(t *testing.T, root string){
		"nothing":     func(*testing.T, string) {},
		"no spool":    func(t *testing.T, root string) { mkdir(t, root, "conf") },
		"empty spool": func(t *testing.T, root string) { mkdir(t, root, "conf"); mkdir(t, root, "spool") },
		// Made as root, before somebody gives it to the server's user.
		"spool of root":   func(t *testing.T, root string) { mkdir(t, root, "conf"); mkdir(t, root, "spool") },
		"backups":         func(t *testing.T, root string) { mkdir(t, root, "conf"); backups(t, filepath.Join(root, "spool")) },
		"backups, no dir": func(t *testing.T, root string) { backups(t, filepath.Join(root, "spool")) },
	} {
		t.Run(name, func(t *testing.T) {
			root := openDir(t)
			set(t, root)
			conf := filepath.Join(root, "imapd.conf")
			text := fmt.Sprintf("configdirectory: %s/conf\nbackuppartition-default: %s/spool\nservername: x\n", root, root)
			if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			give(t, root)
			if name == "spool of root" && os.Geteuid() == 0 {
				if err := os.Chown(filepath.Join(root, "spool"), 0, 0); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, root)
			for _, line := range readers {
				args := strings.Fields(strings.ReplaceAll(line, "OUT", root+"/out"))
				args = append([]string{args[0], "-C", conf}, args[1:]...)
				status := Main(args, strings.NewReader(""), io.Discard, io.Discard)
				same(t, line, before, tree(t, root))
				if name == "backups" && status != 0 && line != "ctl_backups doctor" {
					t.Errorf("%s: status %d", line, status)
				}
			}
		})
	}
}

// The same as the server's user, in a separate process.
func TestReadersCreateNothingAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run programs as another user; as this user they run in TestReadersCreateNothing")
	}
	root := openDir(t)
	mkdir(t, root, "conf")
	if err := os.WriteFile(root+"/imapd.conf", fmt.Appendf(nil, "configdirectory: %s/conf\nbackuppartition-default: %s/spool\n", root, root), 0o644); err != nil {
		t.Fatal(err)
	}
	binary := copyOfSelf(t)
	give(t, root)
	before := tree(t, root)
	for _, line := range readers {
		args := strings.Fields(strings.ReplaceAll(line, "OUT", root+"/out"))
		cmd := exec.Command(binary, append([]string{args[0], "-C", root + "/imapd.conf"}, args[1:]...)...)
		cmd.Env = append(os.Environ(), asProgram+"=1", "HOME="+root, "TMPDIR=/tmp")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: unprivileged, Gid: unprivileged}}
		var exit *exec.ExitError
		if out, err := cmd.CombinedOutput(); err != nil && !errors.As(err, &exit) {
			t.Fatalf("%s: %v\n%s", line, err, out)
		} else if bytes.Contains(out, []byte("permission denied")) {
			t.Errorf("%s: %s", line, out)
		}
		same(t, line, before, tree(t, root))
	}
}

// openDir returns a directory that every user can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func copyOfSelf(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(openDir(t), "programs")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// give gives everything below a directory to the unprivileged user, if this is root.
func give(t *testing.T, root string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, unprivileged, unprivileged)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, root, name string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
		t.Fatal(err)
	}
}

// tree describes all files below a directory.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			t.Fatalf("%T", info.Sys())
		}
		out[path] = fmt.Sprint(info.Mode(), st.Uid, st.Gid, st.Ino, sizeOf(info))
		if !strings.HasSuffix(path, "/.objstore/clock") { // whose times are read by changing them
			out[path] += info.ModTime().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sizeOf returns the size of a file. That of a directory depends on the file system.
func sizeOf(info fs.FileInfo) int64 {
	if info.IsDir() {
		return 0
	}
	return info.Size()
}

func same(t *testing.T, what string, before, after map[string]string) {
	t.Helper()
	for path := range after {
		if before[path] == "" {
			t.Errorf("%s: made %s", what, path)
		} else if before[path] != after[path] {
			t.Errorf("%s: changed %s: %s, was %s", what, path, after[path], before[path])
		}
		delete(before, path)
	}
	for path := range before {
		t.Errorf("%s: removed %s", what, path)
	}
	for path, is := range after {
		before[path] = is
	}
}
