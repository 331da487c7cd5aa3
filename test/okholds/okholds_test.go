// Package okholds tests that answers of OK hold on buckets, disks and clocks that misbehave:
// backup_replay pushes mail to the real backupd, the test damages the bucket, and the tools must
// report the truth.
package okholds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/test/programs"
)

const root = "../.."

// nobody is the user of the programs if the test runs as root, because backupd refuses to run as root.
const nobody = 65534

const binEnv = "OKHOLDS_BIN" // the directory with the programs

func TestMain(m *testing.M) {
	os.Exit(programs.Run(m.Run, binEnv, root, nil, "./cmd/backupd", "./cmd/backup_replay", "./cmd/ctl_backups", "./cmd/cyr_backup", "./cmd/restore"))
}

// site is an installation: imapd.conf, the state of the host, and a bucket.
type site struct {
	t     *testing.T
	bin   string
	dir   string
	conf  string
	repo  string // directory of the bucket; "" on MinIO
	env   []string
	store objstore.Store // the bucket, to examine and damage it
}

// onEach runs the test with a directory and with MinIO.
func onEach(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	for _, kind := range []string{"dir", "minio"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, kind))
		})
	}
}

// newSite creates an empty site; lines are added to its imapd.conf.
func newSite(t *testing.T, kind string, lines ...string) *site {
	t.Helper()
	// A short path, because it contains a UNIX socket.
	dir, err := os.MkdirTemp("/tmp", "okholds-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &site{t: t, bin: os.Getenv(binEnv), dir: dir, conf: filepath.Join(dir, "imapd.conf"), env: append(os.Environ(), "HOME="+dir)}
	location := s.openStore(kind)
	s.write("imapd.conf", strings.Join(append([]string{
		"configdirectory: " + filepath.Join(dir, "state"), "admins: demo",
		"backuppartition-default: " + location, "backup_outage_wait: 20s",
	}, lines...), "\n")+"\n")
	s.write("password", "secret")
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.own()
	if out, status := s.runWith("secret", "ctl_backups", "-C", s.conf, "passwd", "demo"); status != 0 {
		t.Fatalf("passwd: %d %s", status, out)
	}
	return s
}

func (s *site) openStore(kind string) (location string) {
	if kind == "dir" {
		s.repo = filepath.Join(s.dir, "repo")
		store, err := dirstore.Open(s.repo)
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = store.Close() })
		s.store = store
		return s.repo
	}
	server := miniotest.Start(s.t)
	l := server.Location(server.NewBucket(s.t))
	store, err := miniostore.Open(l, miniostore.Options{Credentials: server.Credentials()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.env = append(s.env, server.Env()...)
	s.store = store
	return l.String()
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// own changes the owner of all files to the user of the programs.
func (s *site) own() {
	s.t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// command is one of our programs, run as an unprivileged user.
func (s *site) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	if !strings.Contains(name, "/") {
		cmd = exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	}
	cmd.Env = s.env
	cmd.Dir = s.dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// run runs a program and returns its output (both streams) and exit status.
func (s *site) run(name string, args ...string) (out string, status int) {
	s.t.Helper()
	return s.runWith("", name, args...)
}

func (s *site) runWith(input, name string, args ...string) (out string, status int) {
	s.t.Helper()
	cmd := s.command(s.t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(input)
	b, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s: %v", name, err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// pushed is the result of a push, as reported by backup_replay.
type pushed struct {
	Records  int      `json:"records"`
	Messages int      `json:"messages"`
	Failed   []string `json:"failed"`
	status   int
	said     string
}

func (p pushed) ok() bool { return p.status == 0 && len(p.Failed) == 0 }

// push pushes the messages of a source (gen:COUNT:BYTES:SEED) to a folder, "" for the INBOX.
// backupd runs for the connection, or passes it to a running one. through precedes its command line.
func (s *site) push(user, folder, source string, through ...string) pushed {
	s.t.Helper()
	args := []string{"--user", user, "--auth", "demo", "--password-file", filepath.Join(s.dir, "password"), "--json", "--exec"}
	if folder != "" {
		args = append(args, "--folder", folder)
	}
	args = append(append(append(args, source, "--"), through...), filepath.Join(s.bin, "backupd"), "-C", s.conf)
	cmd := s.command(s.t.Context(), "backup_replay", args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	p := pushed{status: cmd.ProcessState.ExitCode(), said: said.String()}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("backup_replay: %v", err)
	}
	var summary struct{ Rounds []pushed }
	if err := json.Unmarshal(out.Bytes(), &summary); err == nil && len(summary.Rounds) == 1 {
		p.Records, p.Messages, p.Failed = summary.Rounds[0].Records, summary.Rounds[0].Messages, summary.Rounds[0].Failed
	} else if p.status == 0 {
		s.t.Fatalf("backup_replay said %q, %v", out.String(), err)
	}
	return p
}

// mustPush pushes messages that must be answered OK.
func (s *site) mustPush(user, folder, source string) pushed {
	s.t.Helper()
	p := s.push(user, folder, source)
	if !p.ok() {
		s.t.Fatalf("push %s %s %s: status %d, %v, %s", user, folder, source, p.status, p.Failed, p.said)
	}
	return p
}

// pushUntilOK pushes, and tries again like a client while the push is deferred, which happens while
// backupd examines the remains of a bucket.
func (s *site) pushUntilOK(user, folder, source string) pushed {
	s.t.Helper()
	sent := 0
	for range 3 {
		p := s.push(user, folder, source)
		sent += p.Messages
		if p.ok() {
			p.Messages = sent
			return p
		}
		if !strings.Contains(strings.Join(p.Failed, " "), "IMAP_MAILBOX_LOCKED") {
			s.t.Fatalf("push %s %s %s: status %d, %v, %s", user, folder, source, p.status, p.Failed, p.said)
		}
	}
	return s.mustPush(user, folder, source)
}

// daemon starts a backupd that runs until the function is called.
func (s *site) daemon() (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.command(ctx, "backupd", "-C", s.conf)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	hold, err := cmd.StdinPipe() // an idle client
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		_ = hold.Close()
		_ = cmd.Wait() // ended by a signal
	})
	s.t.Cleanup(stop)
	socket := filepath.Join(s.dir, "state/socket/backupd-control")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if st, err := os.Stat(socket); err == nil && st.Mode()&fs.ModeSocket != 0 {
			return stop
		}
		if time.Now().After(end) {
			s.t.Fatal("the daemon did not start")
		}
	}
}

// newIndex simulates a host that has lost its index.
func (s *site) newIndex() {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "state/backup-index*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range found {
		if err := os.RemoveAll(f); err != nil {
			s.t.Fatal(err)
		}
	}
}

// keys returns the keys of the objects below a prefix.
func (s *site) keys(prefix string) []string {
	s.t.Helper()
	var keys []string
	for info, err := range s.store.List(s.t.Context(), prefix, "") {
		if err != nil {
			s.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

// log returns the numbers in the keys of a user's log.
func (s *site) log(user string) string {
	s.t.Helper()
	var numbers []string
	for _, key := range s.keys("backups/user/" + user + "/log/") {
		name := strings.TrimSuffix(key[strings.LastIndex(key, "/")+1:], ".tar.zst")
		numbers = append(numbers, strings.TrimLeft(name, "0"))
	}
	return strings.Join(numbers, " ")
}

func (s *site) get(key string) []byte {
	s.t.Helper()
	o, err := s.store.Get(s.t.Context(), key, 0, -1)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(o)
	if err := errors.Join(err, o.Close()); err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) put(key string, b []byte) {
	s.t.Helper()
	if _, err := s.store.Put(s.t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// remove removes objects without backupd's knowledge.
func (s *site) remove(keys ...string) {
	s.t.Helper()
	for _, key := range keys {
		if err := s.store.Delete(s.t.Context(), key); err != nil {
			s.t.Fatal(err)
		}
	}
}

// bucket is a copy of all objects.
type bucket map[string][]byte

func (s *site) snapshot() bucket {
	s.t.Helper()
	b := bucket{}
	for _, key := range s.keys("") {
		b[key] = s.get(key)
	}
	return b
}

// restoreSnapshot resets the bucket to the copy.
func (s *site) restoreSnapshot(b bucket) {
	s.t.Helper()
	for _, key := range s.keys("") {
		if _, ok := b[key]; !ok {
			s.remove(key)
		}
	}
	for key, text := range b {
		s.put(key, text)
	}
	s.own()
}

// verify returns the problems of the user's backup, "" if there are none.
func (s *site) verify(user string) string {
	s.t.Helper()
	out, status := s.run("ctl_backups", "-C", s.conf, "verify", user)
	if status == 0 {
		return ""
	}
	return fmt.Sprintf("status %d: %s", status, beginning(out))
}

// beginning returns the first part of an output.
func beginning(out string) string {
	const most = 1000
	if len(out) <= most {
		return out
	}
	return fmt.Sprintf("%s… (%d lines)", out[:most], strings.Count(out, "\n"))
}

func (s *site) mustVerify(user string) {
	s.t.Helper()
	if wrong := s.verify(user); wrong != "" {
		s.t.Errorf("verify %s: %s", user, wrong)
	}
}

// restored runs a restore of the user and returns the number of messages, the exit status and output.
func (s *site) restored(user string, args ...string) (messages, status int, said string) {
	s.t.Helper()
	to, err := os.MkdirTemp(s.dir, "restored-")
	if err != nil {
		s.t.Fatal(err)
	}
	s.own()
	said, status = s.run("restore", append(append([]string{"-C", s.conf, "--to", "maildir:" + filepath.Join(to, "m")}, args...), user, "-a")...)
	err = filepath.WalkDir(to, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && slices.Contains([]string{"cur", "new"}, filepath.Base(filepath.Dir(path))) {
			messages++
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return messages, status, beginning(said)
}

func (s *site) mustRestore(user string, want int) {
	s.t.Helper()
	if n, status, said := s.restored(user); n != want || status != 0 {
		s.t.Errorf("restore %s: %d messages of %d, status %d: %s", user, n, want, status, said)
	}
}
