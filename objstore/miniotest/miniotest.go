// Package miniotest runs a real MinIO for tests. Each test process has one server, started
// by the first test that uses it and stopped when the process ends, however it ends. A
// missing binary fails the test; tests are never skipped because of it.
package miniotest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/cyrusbackup/backupd/objstore"
)

// Server is a running MinIO.
type Server struct {
	Endpoint  string // host:port
	AccessKey string
	SecretKey string
	CAFile    string // PEM; "" over plain HTTP

	// alive is the supervisor's standard input. If it were garbage collected, the server
	// would stop.
	alive io.Closer
}

// The servers of this process. They are the only global state of the tests, because a start
// takes a second and 200 MB.
var (
	plain  = sync.OnceValues(func() (*Server, error) { return start(false) })
	secure = sync.OnceValues(func() (*Server, error) { return start(true) })
)

// Start returns the process's MinIO over plain HTTP.
func Start(tb testing.TB) *Server { return get(tb, plain) }

// StartTLS returns the process's MinIO over TLS, with a certificate of CAFile.
func StartTLS(tb testing.TB) *Server { return get(tb, secure) }

func get(tb testing.TB, once func() (*Server, error)) *Server {
	tb.Helper()
	s, err := once()
	if err != nil {
		tb.Fatalf("start MinIO: %v", err)
	}
	return s
}

// Env returns the variables with which a program finds the credentials, in the form of
// os.Environ.
func (s *Server) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey, "AWS_REGION=us-east-1"}
}

// URL returns the endpoint with its scheme.
func (s *Server) URL() string {
	if s.CAFile != "" {
		return "https://" + s.Endpoint
	}
	return "http://" + s.Endpoint
}

// Credentials returns the root user's credentials.
func (s *Server) Credentials() *objstore.Credentials {
	return &objstore.Credentials{AccessKey: s.AccessKey, SecretKey: objstore.Secret(s.SecretKey)}
}

// Location returns a bucket as a minio:// location.
func (s *Server) Location(bucket string) objstore.Location {
	return objstore.Location{Scheme: objstore.MinIO, Endpoint: s.Endpoint, Bucket: bucket, TLS: s.CAFile != "", CAFile: s.CAFile}
}

// S3Location returns a bucket as an s3:// location.
func (s *Server) S3Location(bucket string) objstore.Location {
	return objstore.Location{Scheme: objstore.S3, Endpoint: s.URL(), Bucket: bucket, Region: "us-east-1", PathStyle: true, CAFile: s.CAFile}
}

// NewBucket makes an empty bucket with a unique name.
func (s *Server) NewBucket(tb testing.TB) string {
	tb.Helper()
	name, err := s.makeBucket(tb.Context(), minio.MakeBucketOptions{}, nil)
	if err != nil {
		tb.Fatalf("make bucket: %v", err)
	}
	return name
}

// NewVersionedBucket is NewBucket with versioning.
func (s *Server) NewVersionedBucket(tb testing.TB) string {
	tb.Helper()
	name, err := s.makeBucket(tb.Context(), minio.MakeBucketOptions{}, func(ctx context.Context, c *minio.Client, name string) error {
		return c.EnableVersioning(ctx, name)
	})
	if err != nil {
		tb.Fatalf("make bucket: %v", err)
	}
	return name
}

// NewLockedBucket is NewBucket with Object Lock: objects cannot be removed for a day.
func (s *Server) NewLockedBucket(tb testing.TB) string {
	tb.Helper()
	name, err := s.makeBucket(tb.Context(), minio.MakeBucketOptions{ObjectLocking: true}, func(ctx context.Context, c *minio.Client, name string) error {
		mode, days, unit := minio.Governance, uint(1), minio.Days
		return c.SetBucketObjectLockConfig(ctx, name, &mode, &days, &unit)
	})
	if err != nil {
		tb.Fatalf("make bucket: %v", err)
	}
	return name
}

// Limited returns temporary keys with a policy, a list of statements in JSON: the root user may do
// everything.
func (s *Server) Limited(tb testing.TB, valid time.Duration, statements string) *objstore.Credentials {
	tb.Helper()
	role, err := credentials.NewSTSAssumeRole(s.URL(), credentials.STSAssumeRoleOptions{
		AccessKey: s.AccessKey, SecretKey: s.SecretKey, DurationSeconds: int(valid.Seconds()),
		Policy: `{"Version":"2012-10-17","Statement":[` + statements + `]}`,
	})
	var v credentials.Value
	if err == nil {
		v, err = role.GetWithContext(&credentials.CredContext{Client: &http.Client{Transport: s.transport()}})
	}
	if err != nil {
		tb.Fatalf("assume role: %v", err)
	}
	return &objstore.Credentials{AccessKey: v.AccessKeyID, SecretKey: objstore.Secret(v.SecretAccessKey), SessionToken: objstore.Secret(v.SessionToken)}
}

// Client returns a client for what no Store does.
func (s *Server) Client(tb testing.TB) *minio.Client {
	tb.Helper()
	client, err := s.client()
	if err != nil {
		tb.Fatalf("make client: %v", err)
	}
	return client
}

func (s *Server) client() (*minio.Client, error) {
	return minio.New(s.Endpoint, &minio.Options{
		Creds:     credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""),
		Secure:    s.CAFile != "",
		Transport: s.transport(),
		Region:    "us-east-1",
	})
}

func (s *Server) makeBucket(ctx context.Context, o minio.MakeBucketOptions, then func(context.Context, *minio.Client, string) error) (string, error) {
	client, err := s.client()
	if err != nil {
		return "", err
	}
	name, err := random(6)
	if err != nil {
		return "", err
	}
	name = "test-" + name
	if err := client.MakeBucket(ctx, name, o); err != nil || then == nil {
		return name, err
	}
	return name, then(ctx, client, name)
}

func random(n int) (string, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}

// binary finds MinIO: $MINIO_BIN, then the repository's cache, then PATH.
func binary() (string, error) {
	if bin := os.Getenv("MINIO_BIN"); bin != "" {
		return exec.LookPath(bin)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if bin, err := exec.LookPath(filepath.Join(dir, ".cache", "bin", "minio")); err == nil {
		return bin, nil
	}
	if bin, err := exec.LookPath("minio"); err == nil {
		return bin, nil
	}
	return "", fmt.Errorf("no MinIO binary in $MINIO_BIN, .cache/bin of the repository or PATH; install it with: %s", installHint)
}

const installHint = "make minio"

// environ returns the process's environment without settings that would affect MinIO.
func environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "MINIO_") {
			env = append(env, kv)
		}
	}
	return env
}
