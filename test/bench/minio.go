package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
)

const (
	bucket                 = "mail"
	minioUser, minioSecret = "bench", "bench-secret"
)

func (l *lab) startOnMinio(ctx context.Context, s *server, set setup) error {
	if err := l.startStore(ctx, s); err != nil {
		return err
	}
	return l.startOurs(s, locationOf(s.endpoint), set)
}

// startStore starts MinIO with an empty bucket.
func (l *lab) startStore(ctx context.Context, s *server) error {
	data := filepath.Join(s.dir, "minio")
	// MinIO on one drive uses a directory as a bucket.
	if err := mkdir(filepath.Join(data, bucket)); err != nil {
		return err
	}
	var err error
	if s.endpoint, err = freeAddr(); err != nil {
		return err
	}
	s.store = exec.Command(l.minio, "server", "--quiet", "--address", s.endpoint, data)
	s.store.Env = append(os.Environ(), "MINIO_ROOT_USER="+minioUser, "MINIO_ROOT_PASSWORD="+minioSecret,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off", "HOME="+s.dir)
	s.store.Stdout, s.store.Stderr = &s.complaint, &s.complaint
	if err := s.store.Start(); err != nil {
		s.store = nil
		return err
	}
	if err := healthy(ctx, s.endpoint); err != nil {
		return err
	}
	s.kept = func(ctx context.Context) (int64, error) { return bucketSize(ctx, s.endpoint) }
	s.env = []string{"AWS_ACCESS_KEY_ID=" + minioUser, "AWS_SECRET_ACCESS_KEY=" + minioSecret, "AWS_REGION=us-east-1"}
	return nil
}

func locationOf(endpoint string) string { return "minio://" + endpoint + "/" + bucket + "?tls=no" }

func freeAddr() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// healthy waits for MinIO.
func healthy(ctx context.Context, addr string) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/minio/health/cluster", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("MinIO does not answer: %w", errors.Join(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// bucketSize sums up the sizes of the objects.
func bucketSize(ctx context.Context, addr string) (n int64, err error) {
	s, err := miniostore.Open(objstore.Location{Scheme: objstore.MinIO, Endpoint: addr, Bucket: bucket},
		miniostore.Options{Credentials: &objstore.Credentials{AccessKey: minioUser, SecretKey: minioSecret}})
	if err != nil {
		return 0, err
	}
	for i, err := range s.List(ctx, "", "") {
		if err != nil {
			return 0, err
		}
		n += i.Size
	}
	return n, nil
}
