package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
)

// startNull runs a server that stores nothing, to measure the client's limit.
func (l *lab) startNull(s *server, w workload) error {
	args := []string{"serve-null", "127.0.0.1:0"}
	if w.compress {
		args = append(args, "--compress")
	}
	cmd := exec.Command(filepath.Join(l.dir, "backup_replay"), args...)
	cmd.Stderr = &s.complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.procs = append(s.procs, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	s.addr = strings.TrimSpace(strings.TrimPrefix(line, "listening at "))
	return err
}

// cyrusConf creates the imapd.conf and directories that every kind of backupd needs.
func (l *lab) cyrusConf(dir string, lines ...string) (file string, err error) {
	for _, d := range []string{"", "db", "socket", "log", "proc", "msg", "quota", "user", "sync", "lock", "temp", "backup", "spool", "store"} {
		if err := mkdir(filepath.Join(dir, d)); err != nil {
			return "", err
		}
	}
	text := strings.Join(append([]string{
		"configdirectory: " + dir,
		"temp_path: " + filepath.Join(dir, "temp"),
		"servername: bench.example",
		"admins: repl",
		"allowplaintext: yes",
		"sasl_mech_list: PLAIN",
		"sasl_pwcheck_method: saslauthd",
		"sasl_saslauthd_path: " + l.sasl.path,
	}, lines...), "\n") + "\n"
	file = filepath.Join(dir, "imapd.conf")
	return file, os.WriteFile(file, []byte(text), 0o644)
}

// startDebian runs Cyrus Backups, where a process serves one connection at a time.
func (l *lab) startDebian(s *server, dir string, w workload) error {
	conf, err := l.cyrusConf(dir, "partition-default: "+filepath.Join(dir, "spool"), "defaultpartition: default",
		"backuppartition-default: "+filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	s.kept = func(context.Context) (int64, error) { return sizeOf(filepath.Join(dir, "store")) }
	return s.serve(w.connections, nil, l.debian, "-C", conf)
}

func (l *lab) startOurs(s *server, dir, location string, env []string, w workload) error {
	lines := []string{"backuppartition-default: " + location}
	if l.level != "" {
		lines = append(lines, "backup_compression: "+l.level)
	}
	if w.compress {
		lines = append(lines, "backup_offer_compress: yes")
	}
	lines = append(lines, strings.Split(l.conf, ";")...)
	conf, err := l.cyrusConf(dir, lines...)
	if err != nil {
		return err
	}
	return s.serve(1, env, filepath.Join(l.dir, "backupd"), "-C", conf)
}

const (
	bucket                 = "mail"
	minioUser, minioSecret = "bench", "bench-secret"
)

func (l *lab) startOnMinio(ctx context.Context, s *server, dir string, w workload) error {
	data := filepath.Join(dir, "minio")
	// MinIO on one drive uses a directory as a bucket.
	if err := mkdir(filepath.Join(data, bucket)); err != nil {
		return err
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	s.store = exec.Command(l.minio, "server", "--quiet", "--address", addr, data)
	s.store.Env = append(os.Environ(), "MINIO_ROOT_USER="+minioUser, "MINIO_ROOT_PASSWORD="+minioSecret,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off", "HOME="+dir)
	s.store.Stdout, s.store.Stderr = &s.complaint, &s.complaint
	if err := s.store.Start(); err != nil {
		s.store = nil
		return err
	}
	if err := healthy(ctx, addr); err != nil {
		return err
	}
	s.kept = func(ctx context.Context) (int64, error) { return bucketSize(ctx, addr) }
	env := []string{"AWS_ACCESS_KEY_ID=" + minioUser, "AWS_SECRET_ACCESS_KEY=" + minioSecret, "AWS_REGION=us-east-1"}
	return l.startOurs(s, dir, "minio://"+addr+"/"+bucket+"?tls=no", env, w)
}

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
