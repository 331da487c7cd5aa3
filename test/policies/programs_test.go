package policies

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/cyrusbackup/backupd/objstore"
)

// TestPrograms: with the keys of a role, the programs do the work of the role.
func TestPrograms(t *testing.T) {
	for name, test := range map[string]struct {
		versioned bool
		prefix    string
	}{
		"bucket":                       {},
		"prefix in a versioned bucket": {true, "mail/site1/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, test.versioned, test.prefix)
			if test.versioned {
				s.endOldVersions()
			}
			s.daemon()
			if !test.versioned {
				s.seal()
				s.restore()
				s.audit()
			}
			s.overwrite(test.versioned)
			s.maintain(test.versioned)
		})
	}
}

// endOldVersions adds the lifecycle rule that a versioned bucket should have.
func (s *site) endOldVersions() {
	s.t.Helper()
	rule := lifecycle.Rule{ID: "old", Status: "Enabled", NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 30}}
	if err := s.server.Client(s.t).SetBucketLifecycle(s.t.Context(), s.bucket, &lifecycle.Configuration{Rules: []lifecycle.Rule{rule}}); err != nil {
		s.t.Fatal(err)
	}
}

// daemon: mail arrives, and the tools of the backup host work.
func (s *site) daemon() {
	s.t.Helper()
	s.write("password", "secret")
	if out, status := s.runWith("secret", "ctl_backups", "-C", filepath.Join(s.dir, "daemon.conf"), "passwd", "repl"); status != 0 {
		s.t.Fatalf("passwd: %d\n%s", status, out)
	}
	s.push("anne", "gen:5:500:1")
	s.push("bob", "gen:30:50000:2") // packs
	s.doctor()
	s.works("daemon", "ctl_backups", "verify", "-A")
	s.works("daemon", "ctl_backups", "hold", "anne", "--reason", "case 1")
	s.push("anne", "gen:7:500:1")
}

// doctor has no finding about the bucket.
func (s *site) doctor() {
	s.t.Helper()
	out, _ := s.run("daemon", "ctl_backups", "doctor", "-j")
	var found struct {
		Findings []struct{ Level, Check, Text string }
	}
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		s.t.Fatalf("doctor: %v\n%s", err, out)
	}
	n := 0
	for _, f := range found.Findings {
		if f.Check != "partition default" {
			continue
		}
		if n++; f.Level != "ok" {
			s.t.Errorf("doctor: %s: %s", f.Level, f.Text)
		}
	}
	if n == 0 {
		s.t.Errorf("doctor has not checked the bucket:\n%s", out)
	}
}

// seal: a list needs the logs, and no packs. Whoever reads the bucket can compare it.
func (s *site) seal() {
	s.t.Helper()
	lists := filepath.Join(s.dir, "seal", "lists")
	s.extend("seal", "backup_seal_key: "+filepath.Join(s.dir, "seal", "seal.key"))
	out := s.works("seal", "ctl_backups", "seal", "--init-key")
	_, keys, found := strings.Cut(out, "backup_seal_public_keys: ")
	if !found {
		s.t.Fatalf("no public key:\n%s", out)
	}
	s.extend("restore", "backup_seal_public_keys: "+strings.TrimSpace(keys))
	s.mkdir("seal/lists")
	s.works("seal", "ctl_backups", "seal", "-A", "--to", lists)
	s.works("seal", "ctl_backups", "verify", "--seals", lists)
	s.works("restore", "ctl_backups", "verify", "--seals")
	s.works("seal", "ctl_backups", "seal", "-A", "--to", lists)
	s.refused("seal", "ctl_backups", "hold", "bob", "--reason", "none")
}

// restore: reading needs no other right.
func (s *site) restore() {
	s.t.Helper()
	to := filepath.Join(s.dir, "restored")
	s.works("restore", "restore", "--to", "maildir:"+to, "anne", "-a")
	if files, err := filepath.Glob(filepath.Join(to, "cur/*")); err != nil || len(files) != 7 {
		s.t.Errorf("%d files restored, %v", len(files), err)
	}
	for _, path := range []string{to, filepath.Join(to, "cur")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			s.t.Errorf("others can read %s: %v, %v", path, info, err)
		}
	}
	s.works("restore", "cyr_backup", "anne", "list", "mailboxes")
	s.works("restore", "cyr_backup", "-A", "find", "subject:message")
	for _, args := range []string{"list -A", "verify anne", "drill anne --scratch " + s.dir, "export anne " + filepath.Join(s.dir, "exported")} {
		s.works("restore", "ctl_backups", strings.Fields(args)...)
	}
	for _, args := range []string{"hold bob --reason none", "erase bob --yes --reason none"} {
		s.refused("restore", "ctl_backups", strings.Fields(args)...)
	}
}

// audit: the auditor sees the work of others, and no mail.
func (s *site) audit() {
	s.t.Helper()
	s.works("auditor", "ctl_backups", "cost")
	s.works("auditor", "ctl_backups", "erase", "--list")
	if out := s.works("auditor", "ctl_backups", "status"); !strings.Contains(out, "repl [stdin]") {
		s.t.Errorf("status shows no contact:\n%s", out)
	}
	s.refused("auditor", "cyr_backup", "anne", "list", "mailboxes")
	s.refused("auditor", "restore", "--to", "maildir:"+filepath.Join(s.dir, "audited"), "anne", "-a")
}

// overwrite: no right prevents that the daemon's keys replace an object. The bytes can be had again
// only if the bucket keeps versions.
func (s *site) overwrite(versioned bool) {
	s.t.Helper()
	ctx, admin := s.t.Context(), s.server.Client(s.t)
	store := s.store(s.keys("daemon"))
	var pack string
	for info, err := range store.List(ctx, s.prefix+"packs/", "") {
		if err != nil {
			s.t.Fatal(err)
		}
		pack = info.Key
	}
	before := s.read(pack, "")
	if _, err := store.Put(ctx, pack, bytes.NewReader(make([]byte, len(before))), objstore.PutOptions{}); err != nil {
		s.t.Fatal(err)
	}
	if out, status := s.run("restore", "ctl_backups", "verify", "bob"); status == 0 {
		s.t.Errorf("verify does not see that %s was overwritten:\n%s", pack, out)
	}
	var former []string
	for o := range admin.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: pack, WithVersions: true}) {
		if o.Err != nil {
			s.t.Fatal(o.Err)
		}
		if !o.IsLatest {
			former = append(former, o.VersionID)
		}
	}
	if versioned != (len(former) == 1) {
		s.t.Fatalf("%d former versions of %s", len(former), pack)
	}
	if versioned && !bytes.Equal(s.read(pack, former[0]), before) {
		s.t.Error("the former version is another one")
	}
	if _, err := admin.PutObject(ctx, s.bucket, pack, bytes.NewReader(before), int64(len(before)), minio.PutObjectOptions{}); err != nil {
		s.t.Fatal(err)
	}
	s.works("restore", "ctl_backups", "verify", "bob")
}

// read returns a version of an object; "" is the current one.
func (s *site) read(key, version string) []byte {
	s.t.Helper()
	o, err := s.server.Client(s.t).GetObject(s.t.Context(), s.bucket, key, minio.GetObjectOptions{VersionID: version})
	if err != nil {
		s.t.Fatal(err)
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// maintain merges, and erases a user.
func (s *site) maintain(versioned bool) {
	s.t.Helper()
	s.works("maintenance", "ctl_backups", "release", "anne")
	s.pass(3 * 24 * time.Hour)
	if out := s.works("maintenance", "ctl_backups", "compact", "-A"); !strings.Contains(out, "2 backups compacted") {
		s.t.Errorf("nothing was compacted:\n%s", out)
	}
	eraser := "maintenance"
	if versioned {
		if log := s.former("backups/user/anne/log/"); log == 0 {
			s.t.Error("the keys of maintenance have removed the former versions of the log")
		}
		s.refused(eraser, "ctl_backups", "erase", "bob", "--yes", "--reason", "request 1")
		eraser = "erasure"
	}
	s.works(eraser, "ctl_backups", "erase", "bob", "--yes", "--reason", "request 1")
	s.pass(3 * time.Hour)
	s.works(eraser, "ctl_backups", "compact", "-A")
	if out := s.works("auditor", "ctl_backups", "erase", "--list"); !strings.Contains(out, "done\tdefault:bob") {
		s.t.Errorf("bob is not erased:\n%s", out)
	}
	for _, left := range []string{"backups/user/bob/", "set-aside/"} {
		if n := s.former(left); n != 0 {
			s.t.Errorf("%d former versions below %s", n, left)
		}
	}
	s.works("daemon", "ctl_backups", "verify", "-A")
	s.works("maintenance", "ctl_backups", "forget-server", "repl [stdin]")
	s.works("maintenance", "ctl_backups", "set-aside", "anne")
}

// former counts the versions below a key that are not current.
func (s *site) former(key string) (n int) {
	s.t.Helper()
	for o := range s.server.Client(s.t).ListObjectsIter(s.t.Context(), s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + key, Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			s.t.Fatal(o.Err)
		}
		if !o.IsLatest {
			n++
		}
	}
	return n
}
