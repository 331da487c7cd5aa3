package s3keys_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3keys"
)

const twoProfiles = `# keys
[default]
aws_access_key_id = one
aws_secret_access_key = one/secret+=

[ profile backup ]
AWS_ACCESS_KEY_ID=two
aws_secret_access_key=two-secret
aws_session_token = token
; aws_access_key_id = no
`

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// isolate hides the keys of the user who runs the test.
func isolate(t *testing.T) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "MINIO_") {
			t.Setenv(name, "")
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_CONFIG_FILE", none)
}

// TestOrder checks the table of docs/administration.md, from its end to its beginning.
func TestOrder(t *testing.T) {
	isolate(t)
	want := func(o s3keys.Options, key, origin string) {
		t.Helper()
		f, err := o.Find()
		if err != nil || f.AccessKey != key || !strings.Contains(f.Origin, origin) {
			t.Errorf("%+v: %q from %q, %v; want %q from %q", o, f.AccessKey, f.Origin, err, key, origin)
		}
	}
	var none s3keys.Options
	if _, err := none.Find(); err == nil || !strings.Contains(err.Error(), "backup_credentials_file") {
		t.Errorf("no keys configured: %v", err)
	}
	config := write(t, "[profile backup]\naws_access_key_id = config\naws_secret_access_key = s\n")
	t.Setenv("AWS_CONFIG_FILE", config)
	t.Setenv("AWS_PROFILE", "backup")
	want(none, "config", config)
	shared := write(t, twoProfiles)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", shared)
	want(none, "two", "profile backup of "+shared)
	t.Setenv("AWS_PROFILE", "")
	want(none, "one", "profile default of "+shared)
	t.Setenv("MINIO_ROOT_USER", "minio")
	t.Setenv("MINIO_ROOT_PASSWORD", "s")
	want(none, "minio", "MINIO_ROOT_USER")
	t.Setenv("AWS_ACCESS_KEY_ID", "aws")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	want(none, "aws", "AWS_ACCESS_KEY_ID")
	want(s3keys.Options{Profile: "backup"}, "two", shared)
	own := write(t, "[default]\naws_access_key_id = own\naws_secret_access_key = s\n")
	want(s3keys.Options{File: own}, "own", "profile default of "+own)
}

func TestParsed(t *testing.T) {
	file := write(t, twoProfiles)
	one, err1 := s3keys.Options{File: file}.Find()
	two, err2 := s3keys.Options{File: file, Profile: "backup"}.Find()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if string(one.SecretKey) != "one/secret+=" || one.SessionToken != "" || string(two.SecretKey) != "two-secret" || string(two.SessionToken) != "token" {
		t.Error("the secrets are not those of the file")
	}
}

// An error names the file, the profile, and the missing setting, but never a secret.
func TestMissing(t *testing.T) {
	isolate(t)
	file := write(t, twoProfiles+"[half]\naws_access_key_id = three\n[role]\nrole_arn = arn:aws:iam::1:role/x\n")
	for _, c := range []struct {
		o    s3keys.Options
		want []string
	}{
		{s3keys.Options{File: "/does/not/exist"}, []string{"/does/not/exist", "does not exist"}},
		{s3keys.Options{File: t.TempDir()}, []string{"is not a file"}},
		{s3keys.Options{File: file, Profile: "none"}, []string{file, "profile none", "backup, default, half, role"}},
		{s3keys.Options{File: file, Profile: "half"}, []string{file, "profile half", "no aws_secret_access_key"}},
		{s3keys.Options{File: file, Profile: "role"}, []string{file, "profile role", "role_arn", "s3://"}},
		{s3keys.Options{File: write(t, "")}, []string{"profile default", "no profile at all"}},
	} {
		_, err := c.o.Find()
		for _, w := range c.want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: %v, want %q in it", c.o, err, w)
			}
		}
		if err != nil && strings.Contains(err.Error(), "secret+=") {
			t.Errorf("a secret in %v", err)
		}
	}
	if err := (s3keys.Options{File: file, Profile: "role"}).Check(); err != nil {
		t.Errorf("a role, for a driver that knows roles: %v", err)
	}
	if err := (s3keys.Options{File: file, Profile: "half"}).Check(); err == nil {
		t.Error("half a pair of keys was accepted")
	}
}

// $HOME is master's, and does not contain the user's files.
func TestHome(t *testing.T) {
	u, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	isolate(t)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "")
	t.Setenv("AWS_CONFIG_FILE", "")
	t.Setenv("HOME", "/nonexistent")
	keys, config := s3keys.Options{}.Paths()
	if keys != filepath.Join(u.HomeDir, ".aws/credentials") || config != filepath.Join(u.HomeDir, ".aws/config") {
		t.Errorf("%s and %s, want them below %s", keys, config, u.HomeDir)
	}
}

func watch(t *testing.T, o s3keys.Options) (*s3keys.Watched[s3keys.Found], *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	w, err := s3keys.Watch(s3keys.Watching[s3keys.Found]{Options: o, Load: o.Find,
		Same: func(a, b s3keys.Found) bool { return a.Credentials == b.Credentials }})
	if err != nil {
		t.Fatal(err)
	}
	return w, &log
}

// A file that is being written, or missing, leaves the keys unchanged and is logged once.
func TestHalfWritten(t *testing.T) {
	file := write(t, twoProfiles)
	w, log := watch(t, s3keys.Options{File: file})
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("[default]\naws_access_key_id = new\n")
	for range 3 {
		if k := w.Get(); k.AccessKey != "one" {
			t.Fatalf("half a file gave %q", k.AccessKey)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if k := w.Get(); k.AccessKey != "one" {
		t.Fatalf("no file gave %q", k.AccessKey)
	}
	put("[default]\naws_access_key_id = new\naws_secret_access_key = s\n")
	if k := w.Get(); k.AccessKey != "new" {
		t.Errorf("the whole file gave %q", k.AccessKey)
	}
	if text := log.String(); strings.Count(text, "cannot be read again") != 1 || strings.Count(text, "were read again") != 1 {
		t.Errorf("the log is %s", text)
	}
}

// A refusal by the store is logged once for each pair of keys, and its end once more.
func TestRefusedIsLoggedOnce(t *testing.T) {
	file := write(t, twoProfiles)
	w, log := watch(t, s3keys.Options{File: file})
	refused := &objstore.Error{Op: "put", Key: "k", Temporary: true, Err: objstore.ErrCredentials}
	try := func(want error) {
		t.Helper()
		for range 3 {
			w.Get()
			if err := w.Try(func() error { return want }); !errors.Is(err, want) {
				t.Fatal(err)
			}
		}
	}
	logged := func(errs, over int) {
		t.Helper()
		text := log.String()
		if strings.Count(text, "level=ERROR") != errs || strings.Count(text, "accepts the keys of the bucket again") != over {
			t.Errorf("want %d refusals and %d ends in %s", errs, over, text)
		}
	}
	try(refused)
	logged(1, 0)
	if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = new\naws_secret_access_key = s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	try(refused)
	logged(2, 0)
	try(nil)
	logged(2, 1)
}

func TestFileModeWarning(t *testing.T) {
	file := write(t, twoProfiles)
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, log := watch(t, s3keys.Options{File: file}); !strings.Contains(log.String(), "chmod 600") || !strings.Contains(log.String(), file) {
		t.Errorf("the log is %s", log)
	}
}
