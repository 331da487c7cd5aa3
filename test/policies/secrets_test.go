package policies

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/minio/minio-go/v7"
)

// TestSecretsStayHidden: passwords, right and wrong, and the keys of the bucket are in no log, no
// telemetry, no crash report, no metric, no output and no title of a process. What the daemon leaves on
// its host is private.
func TestSecretsStayHidden(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a daemon without the log of this host")
	}
	t.Parallel()
	s := newSite(t, false, "")
	const right, wrong, mail = "Ahsheekoo7-right", "Eiquuph4ah-wrong", "Oghoh2eePh-restore"
	k, err := os.ReadFile(filepath.Join(s.dir, "daemon.keys"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{right, wrong, mail}
	for line := range strings.Lines(string(k)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " = "); strings.Contains(name, "secret") || strings.Contains(name, "token") {
			secrets = append(secrets, value)
		}
	}
	if len(secrets) != 5 {
		t.Fatalf("%d secrets", len(secrets))
	}
	s.extend("daemon", "allowplaintext: yes", "failedloginpause: 0", "restore_authname: cyrus", "restore_password: "+mail,
		"backup_metrics_file: "+filepath.Join(s.dir, "daemon/metrics.prom"))
	s.mkdir("daemon/log")
	s.mkdir("daemon/log/repl")
	var said []string
	run := func(name string, args ...string) {
		out, status := s.run("daemon", name, args...)
		said = append(said, fmt.Sprintf("%s %s: %d\n%s", name, strings.Join(args, " "), status, out))
	}
	out, _ := s.runWith(right, "ctl_backups", "-C", filepath.Join(s.dir, "daemon.conf"), "passwd", "repl")
	said = append(said, out)

	d := s.serve()
	plain := func(password string) string {
		return base64.StdEncoding.EncodeToString([]byte("\x00repl\x00" + password))
	}
	d.ask("AUTHENTICATE PLAIN "+plain(wrong), "NO")
	d.ask("AUTHENTICATE PLAIN\r\n"+plain(wrong), "NO")
	d.ask("AUTHENTICATE SCRAM-SHA-256 "+plain(wrong), "NO")
	d.ask("AUTHENTICATE PLAIN "+plain(right), "OK")
	d.ask("AUTHENTICATE PLAIN "+plain(right), "BAD")
	d.ask("GET USER bob", "")
	s.write("password", right)
	s.push("anne", "gen:5:500:1")
	s.write("password", wrong)
	pushed, status := s.pushed("anne", "gen:6:500:1")
	if said = append(said, pushed); status == 0 {
		t.Error("a login with a wrong password has succeeded")
	}
	titles, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", d.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	said = append(said, string(titles))
	run("ctl_backups", "status")
	run("ctl_backups", "doctor")
	run("ctl_backups", "list", "-A")
	run("ctl_backups", "debug", "profile", "goroutine")
	run("restore", "127.0.0.1:1", "anne", "-a")
	if out, _ := s.run("auditor", "restore", "--to", "maildir:"+filepath.Join(s.dir, "none"), "anne", "-a"); !strings.Contains(out, "denied") {
		t.Errorf("a refusal was expected: %s", out)
	} else {
		said = append(said, out)
	}
	said = append(said, d.crash())
	d = s.serve() // reports the crash
	said = append(said, d.end())

	all := strings.Join(said, "\n")
	for _, want := range []string{"badlogin: ", "login: ", "an earlier process crashed", "denied"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in the output, so nothing proves that the test sees it", want)
		}
	}
	s.hidden("the output", []byte(all), secrets)
	s.searched(secrets)
	s.searchedBucket(secrets)
}

// hidden fails if text has a secret, also encoded for SASL.
func (s *site) hidden(where string, text []byte, secrets []string) {
	s.t.Helper()
	for _, secret := range secrets {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("\x00repl\x00" + secret))} {
			if i := strings.Index(string(text), strings.TrimRight(form, "=")); i >= 0 {
				s.t.Errorf("%s has the secret %.10s…: …%q", where, secret, text[max(0, i-200):i])
			}
		}
	}
}

// searched searches the files of the daemon, which nobody else may read.
func (s *site) searched(secrets []string) {
	s.t.Helper()
	var seen []string
	err := filepath.WalkDir(filepath.Join(s.dir, "daemon"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(s.dir, path)
		if info.Mode().Perm()&0o077 != 0 && rel != "daemon/metrics.prom" { // another user reads the metrics
			s.t.Errorf("%s has mode %v", rel, info.Mode())
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		seen = append(seen, rel)
		s.hidden(rel, text, secrets)
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	for _, want := range []string{"daemon/metrics.prom", "daemon/backup-credentials.db", "daemon/backupd-crashes/last", "daemon/log/repl/"} {
		if !slices.ContainsFunc(seen, func(name string) bool { return strings.HasPrefix(name, want) }) {
			s.t.Errorf("there is no %s among %q", want, seen)
		}
	}
}

// searchedBucket searches the bytes and the decompressed bytes of every object.
func (s *site) searchedBucket(secrets []string) {
	s.t.Helper()
	objects := 0
	for o := range s.server.Client(s.t).ListObjectsIter(s.t.Context(), s.bucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			s.t.Fatal(o.Err)
		}
		objects++
		b := s.read(o.Key, "")
		s.hidden(o.Key, b, secrets)
		if !strings.HasSuffix(o.Key, ".zst") {
			continue
		}
		r, err := zstd.NewReader(bytes.NewReader(b))
		if err != nil {
			s.t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if r.Close(); err != nil || len(text) == 0 {
			s.t.Errorf("%s: %v", o.Key, err)
		}
		s.hidden(o.Key, text, secrets)
	}
	if objects < 4 {
		s.t.Errorf("%d objects", objects)
	}
}

// extend adds lines to the imapd.conf of a role.
func (s *site) extend(role string, lines ...string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, role+".conf"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(role+".conf", string(text)+strings.Join(lines, "\n")+"\n")
}

func (s *site) mkdir(name string) {
	s.t.Helper()
	if err := os.Mkdir(filepath.Join(s.dir, name), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.own(name)
}

// served is a daemon with a client on its standard input and output.
type served struct {
	s   *site
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	log *os.File
}

// serve starts a daemon that has no log daemon, so that its log is its standard error.
func (s *site) serve() *served {
	s.t.Helper()
	log, err := os.CreateTemp(s.dir, "stderr-")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = log.Close() })
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`,
		"sh", filepath.Join(os.Getenv(binEnv), "backupd"), "-C", filepath.Join(s.dir, "daemon.conf"))
	cmd.Env = append(os.Environ(), "HOME="+s.dir)
	cmd.Dir, cmd.Stderr = s.dir, log
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	d := &served{s, cmd, in, bufio.NewReader(out), log}
	s.t.Cleanup(func() { _ = cmd.Process.Kill() })
	d.until("* OK")
	return d
}

// ask sends lines, and waits for the last line of the answer.
func (d *served) ask(lines, want string) {
	d.s.t.Helper()
	if _, err := io.WriteString(d.in, lines+"\r\n"); err != nil {
		d.s.t.Fatal(err)
	}
	d.until(want)
}

// until reads up to the tagged line of an answer, which begins with want.
func (d *served) until(want string) {
	d.s.t.Helper()
	for {
		line, err := d.out.ReadString('\n')
		if err != nil {
			d.s.t.Fatalf("%q, %v; the log: %s", line, err, d.logged())
		}
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(line, "* OK") || slices.Contains([]string{"OK", "NO", "BAD"}, word) {
			if !strings.HasPrefix(line, want) {
				d.s.t.Fatalf("%q, want %s", line, want)
			}
			return
		}
	}
}

func (d *served) logged() string {
	d.s.t.Helper()
	text, err := os.ReadFile(d.log.Name())
	if err != nil {
		d.s.t.Fatal(err)
	}
	return string(text)
}

// crash ends the daemon as a fault of the runtime does, and returns its log.
func (d *served) crash() string {
	d.s.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGABRT); err != nil {
		d.s.t.Fatal(err)
	}
	_ = d.cmd.Wait() // ended by a signal
	return d.logged()
}

// end ends the connection, and the daemon.
func (d *served) end() string {
	d.s.t.Helper()
	_ = d.in.Close()
	done := time.AfterFunc(time.Minute, func() { _ = d.cmd.Process.Kill() })
	defer done.Stop()
	if err := d.cmd.Wait(); err != nil {
		d.s.t.Errorf("%v; the log: %s", err, d.logged())
	}
	return d.logged()
}
