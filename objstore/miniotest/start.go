package miniotest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cyrusbackup/backupd/objstore/internal/s3wire"
)

const startTimeout = time.Minute

// supervise runs MinIO until its standard input ends, that is, until the test process has
// ended, even by a panic or a kill. Then it removes the data. Its arguments are the
// directory and MinIO's command line.
const supervise = `dir=$1; shift
"$@" >"$dir/minio.log" 2>&1 </dev/null &
pid=$!
cat >/dev/null
kill -9 $pid; wait $pid; rm -rf "$dir"`

func start(withTLS bool) (*Server, error) {
	bin, err := binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "miniotest-")
	if err != nil {
		return nil, err
	}
	s, err := startIn(bin, dir, withTLS)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func startIn(bin, dir string, withTLS bool) (*Server, error) {
	secret, err := random(20)
	if err != nil {
		return nil, err
	}
	endpoint, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &Server{Endpoint: endpoint, AccessKey: "miniotest", SecretKey: secret}
	certs := filepath.Join(dir, "certs")
	if err := os.Mkdir(certs, 0o700); err != nil {
		return nil, err
	}
	if withTLS {
		if s.CAFile, err = writeCertificate(certs); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command("/bin/sh", "-c", supervise, "miniotest", dir,
		bin, "server", "--quiet", "--address", endpoint, "--certs-dir", certs, filepath.Join(dir, "data"))
	cmd.Env = append(environ(), "HOME="+dir, "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off",
		"MINIO_API_DELETE_CLEANUP_INTERVAL=5s") // its trash is emptied every 5 minutes by default
	if s.alive, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.await(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "minio.log"))
		_ = s.alive.Close()
		_ = cmd.Wait() // the supervisor's status is meaningless
		return nil, fmt.Errorf("%w; its log: %s", err, bytes.TrimSpace(log))
	}
	return s, nil
}

// await polls until MinIO reports that it can write.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	client := &http.Client{Transport: s.transport(), Timeout: 5 * time.Second}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.healthy(ctx, client)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not up after %v: %w", startTimeout, err)
		}
	}
}

func (s *Server) healthy(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/minio/health/cluster", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

// transport trusts the server's certificate.
func (s *Server) transport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	if s.CAFile == "" {
		return t
	}
	pool, err := s3wire.CAPool(s.CAFile)
	if err != nil {
		return failing{err}
	}
	t.TLSClientConfig = clientTLS(pool)
	return t
}

type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
