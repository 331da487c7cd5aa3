package policies

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
)

// nobody is the user of the programs if the test runs as root, because backupd refuses to run as root.
const nobody = 65534

// valid is how long the keys of a role are valid: doctor warns two days before the end.
const valid = 6 * 24 * time.Hour

// roles are the policies, by the names of their files.
var roles = []string{"daemon", "maintenance", "erasure", "restore", "auditor", "seal"}

// site is a partition with a key for each role. The daemon and upkeep have one host, every other role
// has its own.
type site struct {
	t      *testing.T
	server *miniotest.Server
	bucket string
	prefix string // "" or "site/"
	dir    string
}

func newSite(t *testing.T, versioned bool, prefix string) *site {
	t.Helper()
	// A short path, because it contains a UNIX socket.
	dir, err := os.MkdirTemp("/tmp", "policies-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &site{t: t, server: miniotest.Start(t), prefix: prefix, dir: dir}
	if s.bucket = s.server.NewBucket(t); versioned {
		s.bucket = s.server.NewVersionedBucket(t)
	}
	s.write("lapse", "")
	for _, role := range roles {
		s.configure(role)
	}
	return s
}

// policy is the file of a role, changed by the command in docs/policies/README.md.
func (s *site) policy(role string) string {
	s.t.Helper()
	dir := filepath.Join(root, "docs/policies")
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		s.t.Fatal(err)
	}
	const command = "    sed -e 's,:::BUCKET,:::mailbackup,' -e 's,:::mailbackup/,:::mailbackup/site1/,' daemon.json"
	if !strings.Contains(string(text), "\n"+command+" ") {
		s.t.Fatalf("docs/policies/README.md does not have the line %q", command)
	}
	cmd := exec.CommandContext(s.t.Context(), "sh", "-c", strings.NewReplacer("mailbackup", s.bucket, "site1/", s.prefix, "daemon", role).Replace(command))
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return string(out)
}

// keys returns keys that have no rights but those of a role.
func (s *site) keys(role string) *objstore.Credentials {
	s.t.Helper()
	var p struct {
		Version   string
		Statement []json.RawMessage
	}
	if err := json.Unmarshal([]byte(s.policy(role)), &p); err != nil || p.Version != "2012-10-17" {
		s.t.Fatalf("%s.json: %v, version %q", role, err, p.Version)
	}
	var all [][]byte
	for _, st := range p.Statement {
		var b bytes.Buffer
		if err := json.Compact(&b, st); err != nil { // MinIO takes 2 KiB
			s.t.Fatal(err)
		}
		all = append(all, b.Bytes())
	}
	return s.server.Limited(s.t, valid, string(bytes.Join(all, []byte(","))))
}

// store is the partition with the rights of a role.
func (s *site) store(c *objstore.Credentials) objstore.Store {
	s.t.Helper()
	l := s.location()
	l.Prefix = ""
	store, err := miniostore.Open(l, miniostore.Options{Credentials: c})
	if err != nil {
		s.t.Fatal(err)
	}
	return store
}

func (s *site) location() objstore.Location {
	l := s.server.Location(s.bucket)
	l.Prefix = strings.TrimSuffix(s.prefix, "/")
	return l
}

// configure writes the imapd.conf of a role, and the keys.
func (s *site) configure(role string) {
	s.t.Helper()
	k := s.keys(role)
	s.write(role+".keys", fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n",
		k.AccessKey, string(k.SecretKey), string(k.SessionToken)))
	state := role
	if role == "maintenance" || role == "erasure" {
		state = "daemon"
	}
	if err := os.MkdirAll(filepath.Join(s.dir, state), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.own(state)
	s.write(role+".conf", strings.Join([]string{
		"configdirectory: " + filepath.Join(s.dir, state), "admins: repl", "backuppartition-default: " + s.location().String(),
		"backup_credentials_file: " + filepath.Join(s.dir, role+".keys"), "backup_outage_wait: 20s", "backup_retention: 2d", "temp_path: " + s.dir,
	}, "\n")+"\n")
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.own(name)
	s.own("")
}

// own gives a file to the user of the programs.
func (s *site) own(name string) {
	s.t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Lchown(filepath.Join(s.dir, name), nobody, nobody); err != nil {
		s.t.Fatal(err)
	}
}

// pass lets time pass from now on, for the programs and the store (cmd/internal/clock).
func (s *site) pass(d time.Duration) {
	s.t.Helper()
	before, err := os.ReadFile(filepath.Join(s.dir, "lapse"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("lapse", fmt.Sprintf("%s%d %d\n", before, time.Now().Unix()+1, int(d.Seconds())))
	time.Sleep(time.Until(time.Unix(time.Now().Unix()+1, 0))) // times of objects are whole seconds
}

// run runs a program with the configuration of a role. It returns both outputs and the exit status.
func (s *site) run(role, name string, args ...string) (out string, status int) {
	s.t.Helper()
	return s.runWith("", name, append([]string{"-C", filepath.Join(s.dir, role+".conf")}, args...)...)
}

func (s *site) runWith(input, name string, args ...string) (out string, status int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(os.Getenv(binEnv), name), args...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "LAPSE_FILE="+filepath.Join(s.dir, "lapse"))
	cmd.Dir = s.dir
	cmd.Stdin = strings.NewReader(input)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	b, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%s: %v", name, err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// works runs a command that must succeed, without any request that was refused.
func (s *site) works(role, name string, args ...string) string {
	s.t.Helper()
	out, status := s.run(role, name, args...)
	if status != 0 || strings.Contains(strings.ToLower(out), "denied") {
		s.t.Errorf("with the keys of %s, %s %s: status %d\n%s", role, name, strings.Join(args, " "), status, out)
	}
	return out
}

// refused runs a command that must fail because a right is missing.
func (s *site) refused(role, name string, args ...string) {
	s.t.Helper()
	if out, status := s.run(role, name, args...); status == 0 || !strings.Contains(strings.ToLower(out), "denied") {
		s.t.Errorf("with the keys of %s, %s %s must be refused: status %d\n%s", role, name, strings.Join(args, " "), status, out)
	}
}

// push sends mail to the INBOX of a user, to a backupd with the keys of the daemon.
func (s *site) push(user, source string) {
	s.t.Helper()
	if out, status := s.pushed(user, source); status != 0 {
		s.t.Fatalf("push %s %s: status %d\n%s", user, source, status, out)
	}
}

func (s *site) pushed(user, source string) (out string, status int) {
	s.t.Helper()
	return s.runWith("", "backup_replay", "--user", user, "--auth", "repl", "--password-file", filepath.Join(s.dir, "password"), "--exec", source,
		"--", filepath.Join(os.Getenv(binEnv), "backupd"), "-C", filepath.Join(s.dir, "daemon.conf"))
}
