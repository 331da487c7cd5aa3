package s3test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// OpenFile makes a driver for bucket "bucket" of the server at host:port that reads its
// keys from a file.
type OpenFile func(t testing.TB, hostPort, file string) objstore.Store

// WriteKeys replaces a credentials file atomically, like an administrator's tool.
func WriteKeys(t testing.TB, file, accessKey, secretKey string) {
	t.Helper()
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secretKey)
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// keyed is a server that accepts one access key.
type keyed struct {
	valid    atomic.Value // string
	refusal  string       // S3's code for any other key
	status   int
	requests atomic.Int64
}

func (k *keyed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.requests.Add(1)
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	if !strings.Contains(r.Header.Get("Authorization"), "Credential="+k.valid.Load().(string)+"/") {
		w.WriteHeader(k.status)
		_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>words of the store</Message></Error>`, k.refusal)
		return
	}
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	describe(w, 0)
	if r.Method == http.MethodGet && r.URL.Query().Get("list-type") != "" {
		w.Header().Del("Content-Length")
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>`)
	}
}

// RunKeys checks that keys which the store no longer accepts cause temporary errors, and
// that an open store uses new keys from the file.
func RunKeys(t *testing.T, open OpenFile) {
	ops := []string{"put", "stat", "list", "delete"}
	for _, c := range []struct {
		status int
		code   string
	}{{403, "InvalidAccessKeyId"}, {400, "ExpiredToken"}} {
		t.Run(c.code, func(t *testing.T) {
			srv := &keyed{refusal: c.code, status: c.status}
			srv.valid.Store("one")
			file := filepath.Join(t.TempDir(), "credentials")
			WriteKeys(t, file, "one", "secret")
			s := open(t, serveHTTP(t, srv), file)
			all := func(when string, want error) {
				t.Helper()
				for _, op := range ops {
					err := call(t, s, op, objstore.PutOptions{})
					if !errors.Is(err, want) {
						t.Errorf("%s, %s: %v", when, op, err)
					}
					if want != nil && (!objstore.IsTemporary(err) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "secret")) {
						t.Errorf("%s, %s: %v, want temporary trouble, the file's name and no secret", when, op, err)
					}
				}
			}
			all("at first", nil)
			srv.valid.Store("two")
			all("when the key is no longer valid", objstore.ErrCredentials)
			WriteKeys(t, file, "two", "secret")
			all("when the new key is in the file", nil)
		})
	}
	t.Run("a file that looks as before", func(t *testing.T) {
		srv := &keyed{refusal: "InvalidAccessKeyId", status: 403}
		srv.valid.Store("two")
		file := filepath.Join(t.TempDir(), "credentials")
		old := time.Now().Add(-time.Hour)
		write := func(key string) {
			t.Helper()
			text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = secret\n", key)
			if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, old, old)); err != nil {
				t.Fatal(err)
			}
		}
		write("one")
		s := open(t, serveHTTP(t, srv), file)
		write("two")
		if err := call(t, s, "put", objstore.PutOptions{IfAbsent: true}); err != nil {
			t.Errorf("put: %v", err)
		}
		if n := srv.requests.Load(); n != 2 {
			t.Errorf("%d requests, want one with the old key and one with the new", n)
		}
	})
}

func serveHTTP(t *testing.T, h http.Handler) (hostPort string) {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// RunContentMD5 checks that a bucket that requires Content-MD5 gets it.
func RunContentMD5(t *testing.T, open Open) {
	for code, words := range map[string]string{
		"MissingContentMD5": "Missing required header for this request: Content-Md5.",
		"InvalidRequest":    "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
	} {
		t.Run(code, func(t *testing.T) {
			var requests, bare atomic.Int64
			s := open(t, serveHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				if r.Header.Get("If-None-Match") != "*" {
					t.Error("the condition is missing")
				}
				if r.Header.Get("Content-Md5") == "hBotaJrYa9FhFEdFPCLG/A==" { // of "body"
					describe(w, 0)
					return
				}
				bare.Add(1)
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, words)
			})), time.Minute)
			for range 3 {
				if err := call(t, s, "put", objstore.PutOptions{IfAbsent: true}); err != nil {
					t.Fatal(err)
				}
			}
			if requests.Load() != 4 || bare.Load() != 1 {
				t.Errorf("%d requests, %d of them without Content-MD5; want 4 and 1", requests.Load(), bare.Load())
			}
		})
	}
}
