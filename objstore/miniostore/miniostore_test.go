package miniostore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3test"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
)

func open(t testing.TB, loc objstore.Location, o miniostore.Options) *miniostore.Store {
	t.Helper()
	s, err := miniostore.Open(loc, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	srv := miniotest.Start(t)
	objstoretest.Run(t, func(t testing.TB) objstore.Store {
		return open(t, srv.Location(srv.NewBucket(t)), miniostore.Options{Credentials: srv.Credentials()})
	})
}

// TestConformanceTLS covers the other options: a private CA, unsigned payload, Content-MD5,
// small pages.
func TestConformanceTLS(t *testing.T) {
	srv := miniotest.StartTLS(t)
	objstoretest.Run(t, func(t testing.TB) objstore.Store {
		loc := srv.Location(srv.NewBucket(t))
		loc.ContentMD5 = true
		return open(t, loc, miniostore.Options{Credentials: srv.Credentials(), PageSize: 90})
	})
}

// TestVersions has small pages, so that the versions of a key are on several.
func TestVersions(t *testing.T) {
	srv := miniotest.Start(t)
	objstoretest.RunVersioned(t, func(t testing.TB) objstore.Store {
		return open(t, srv.Location(srv.NewVersionedBucket(t)), miniostore.Options{Credentials: srv.Credentials(), PageSize: 7})
	})
}

func TestRetained(t *testing.T) {
	s3test.RunRetained(t, func(t testing.TB, srv *miniotest.Server, bucket string) objstore.Store {
		return open(t, srv.Location(bucket), miniostore.Options{Credentials: srv.Credentials()})
	})
}

func TestSettings(t *testing.T) {
	s3test.RunSettings(t, func(t testing.TB, srv *miniotest.Server, bucket string, keys *objstore.Credentials) objstore.Inspector {
		return open(t, srv.Location(bucket), miniostore.Options{Credentials: keys})
	})
}

func TestVersionsIgnored(t *testing.T) { s3test.RunVersionsIgnored(t, openStub) }

func openStub(t testing.TB, hostPort string, stall time.Duration) objstore.Store {
	loc := objstore.Location{Scheme: objstore.MinIO, Bucket: "bucket", Endpoint: hostPort}
	return open(t, loc, miniostore.Options{Stall: stall, Credentials: &objstore.Credentials{AccessKey: "a", SecretKey: "s"}})
}

func TestAnswers(t *testing.T) { s3test.RunAnswers(t, openStub) }

func TestContentMD5(t *testing.T) { s3test.RunContentMD5(t, openStub) }

func TestKeys(t *testing.T) {
	s3test.RunKeys(t, func(t testing.TB, hostPort, file string) objstore.Store {
		return open(t, objstore.Location{Scheme: objstore.MinIO, Bucket: "bucket", Endpoint: hostPort}, miniostore.Options{CredentialsFile: file})
	})
}

// TestRotation replaces the keys of an open store. The server checks signatures.
func TestRotation(t *testing.T) {
	srv := miniotest.Start(t)
	file := filepath.Join(t.TempDir(), "credentials")
	s3test.WriteKeys(t, file, srv.AccessKey, "revoked")
	s := open(t, srv.Location(srv.NewBucket(t)), miniostore.Options{CredentialsFile: file})
	for _, op := range []string{"stat", "list", "delete"} {
		if err := s3test.Call(t, s, op); !errors.Is(err, objstore.ErrCredentials) || !objstore.IsTemporary(err) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s with a revoked key: %v", op, err)
		}
	}
	s3test.WriteKeys(t, file, srv.AccessKey, srv.SecretKey)
	if err := s3test.Call(t, s, "put"); err != nil {
		t.Errorf("with the new key: %v", err)
	}
}

func TestBroken(t *testing.T) { s3test.RunBroken(t, openStub) }

func TestCredentials(t *testing.T) {
	srv := miniotest.Start(t)
	loc := srv.Location(srv.NewBucket(t))
	isolate(t)
	if _, err := miniostore.Open(loc, miniostore.Options{}); err == nil {
		t.Error("opened without credentials")
	}
	stat := func(loc objstore.Location) error {
		_, err := open(t, loc, miniostore.Options{}).Stat(t.Context(), "absent")
		return err
	}
	profiles := filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[backup]\naws_access_key_id = %s\naws_secret_access_key = %s\n", srv.AccessKey, srv.SecretKey)
	if err := os.WriteFile(profiles, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", profiles)
	named := loc
	named.Profile = "backup"
	if err := stat(named); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("with a profile: %v", err)
	}
	named.Profile = "another"
	if _, err := miniostore.Open(named, miniostore.Options{}); err == nil {
		t.Error("opened with a missing profile")
	}
	t.Setenv("MINIO_ROOT_USER", srv.AccessKey)
	t.Setenv("MINIO_ROOT_PASSWORD", srv.SecretKey)
	if err := stat(loc); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("with MINIO_*: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", srv.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if err := stat(loc); !errors.Is(err, objstore.ErrDenied) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong secret in AWS_*: %v, want denied", err)
	}
}

// isolate hides the credentials and settings of the user who runs the test.
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

// TestTrust: an untrusted server certificate is an error that a person must fix.
func TestTrust(t *testing.T) {
	srv := miniotest.StartTLS(t)
	loc := srv.Location("bucket")
	loc.CAFile = ""
	_, err := open(t, loc, miniostore.Options{Credentials: srv.Credentials()}).Stat(t.Context(), "x")
	if err == nil || objstore.IsTemporary(err) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("stat: %v, want a permanent error about the certificate", err)
	}
}
