// Package s3test tests the S3 drivers with answers that no healthy server gives: errors,
// stalls and broken connections. Each answer belongs to exactly one request.
package s3test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Open makes a driver for bucket "bucket" of the server at host:port, over HTTP, that
// closes a silent connection after stall.
type Open func(t testing.TB, hostPort string, stall time.Duration) objstore.Store

// RunAnswers checks the error for each answer of a store.
func RunAnswers(t *testing.T, open Open) {
	absent, match := objstore.PutOptions{IfAbsent: true}, objstore.PutOptions{IfMatch: "etag"}
	none := objstore.PutOptions{}
	for _, c := range []struct {
		op        string
		opt       objstore.PutOptions
		status    int
		code      string // "" for an answer without a body
		want      error  // nil: no sentinel
		temporary bool
	}{
		{"put", absent, 412, "PreconditionFailed", objstore.ErrExist, false},
		{"put", match, 412, "PreconditionFailed", objstore.ErrPrecondition, false},
		{"put", match, 404, "NoSuchKey", objstore.ErrPrecondition, false},
		{"put", match, 404, "NoSuchBucket", objstore.ErrNoBucket, false},
		{"put", absent, 409, "ConditionalRequestConflict", nil, true},
		{"put", none, 409, "OperationAborted", nil, true},
		{"put", none, 409, "ObjectParentIsFile", nil, false},
		{"put", none, 403, "AccessDenied", objstore.ErrDenied, false},
		{"put", none, 403, "SignatureDoesNotMatch", objstore.ErrCredentials, true},
		{"put", none, 403, "InvalidAccessKeyId", objstore.ErrCredentials, true},
		{"put", none, 400, "TokenRefreshRequired", objstore.ErrCredentials, true},
		{"put", none, 401, "", objstore.ErrCredentials, true},
		{"put", none, 403, "RequestTimeTooSkewed", nil, true},
		{"put", none, 301, "PermanentRedirect", nil, false},
		{"put", none, 400, "ExpiredToken", objstore.ErrCredentials, true},
		{"put", none, 400, "BadDigest", nil, true},
		{"put", none, 400, "InvalidRequest", nil, false},
		{"put", absent, 501, "NotImplemented", objstore.ErrUnsupported, false},
		{"put", absent, 400, "NotImplemented", objstore.ErrUnsupported, false},
		{"put", none, 507, "XMinioStorageFull", objstore.ErrNoSpace, true},
		{"put", none, 503, "SlowDown", nil, true},
		{"put", absent, 503, "SlowDown", nil, true},
		{"put", none, 500, "InternalError", nil, true},
		{"put", none, 429, "TooManyRequests", nil, true},
		{"put", none, 502, "", nil, true},
		{"put", none, 408, "RequestTimeout", nil, true},
		{"get", none, 404, "NoSuchKey", objstore.ErrNotExist, false},
		{"get", none, 404, "NoSuchBucket", objstore.ErrNoBucket, false},
		{"get", none, 403, "AccessDenied", objstore.ErrDenied, false},
		{"get", none, 416, "InvalidRange", objstore.ErrRange, false},
		{"get", none, 503, "", nil, true},
		{"stat", none, 404, "", objstore.ErrNotExist, false},
		{"stat", none, 403, "", objstore.ErrDenied, false},
		{"stat", none, 400, "", nil, false},
		{"stat", none, 400, "ExpiredToken", objstore.ErrCredentials, true},
		{"stat", none, 403, "InvalidAccessKeyId", objstore.ErrCredentials, true},
		{"stat", none, 403, "AccessDenied", objstore.ErrDenied, false},
		{"stat", none, 500, "", nil, true},
		{"list", none, 404, "NoSuchBucket", objstore.ErrNoBucket, false},
		{"list", none, 503, "ServiceUnavailable", nil, true},
		{"delete", none, 404, "NoSuchBucket", objstore.ErrNoBucket, false},
		{"delete", none, 403, "AccessDenied", objstore.ErrDenied, false},
		{"noncurrent", none, 404, "NoSuchBucket", objstore.ErrNoBucket, false},
		{"noncurrent", none, 403, "AccessDenied", objstore.ErrDenied, false},
		{"noncurrent", none, 501, "NotImplemented", objstore.ErrUnsupported, false},
		{"noncurrent", none, 503, "SlowDown", nil, true},
		{"delete-version", none, 501, "NotImplemented", objstore.ErrUnsupported, false},
		{"delete-version", none, 403, "AccessDenied", objstore.ErrDenied, false},
		{"delete-version", none, 503, "SlowDown", nil, true},
	} {
		t.Run(fmt.Sprintf("%s %d %s", c.op, c.status, c.code), func(t *testing.T) {
			at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
			srv, requests := answer(t, c.status, c.code, at)
			err := call(t, open(t, srv, time.Minute), c.op, c.opt)
			check(t, err, c.op, c.want, c.temporary)
			if way := wayOut(c.want, c.op, c.code); !strings.Contains(fmt.Sprint(err), way) {
				t.Errorf("%v: advice is missing: %s", err, way)
			}
			if !strings.Contains(fmt.Sprint(err), "request R17") {
				t.Errorf("%v: the id of the request is missing", err)
			}
			if got := objstore.StoreTimeOf(err); !got.Equal(at) {
				t.Errorf("store time %v, want %v", got, at)
			}
			want := int64(1)
			if c.op == "stat" && (c.status == 400 || c.status == 403) {
				want = 2 // HEAD has no error body, so a GET follows
			}
			if n := requests.Load(); n != want {
				t.Errorf("%d requests, want %d", n, want)
			}
		})
	}
}

// wayOut returns the advice that an error must contain if only a person can fix its cause.
func wayOut(sentinel error, op, code string) string {
	switch {
	case errors.Is(sentinel, objstore.ErrCredentials):
		return "renew the keys"
	case errors.Is(sentinel, objstore.ErrDenied):
		return map[string]string{"put": "s3:PutObject", "get": "s3:GetObject", "stat": "s3:ListBucket", "delete": "s3:DeleteObject",
			"noncurrent": "s3:ListBucketVersions", "delete-version": "s3:ListBucketVersions"}[op]
	case errors.Is(sentinel, objstore.ErrNoBucket):
		return "create the bucket"
	case code == "RequestTimeTooSkewed":
		return "the store's 2020-02-03T04:05:06Z; correct the wrong one (NTP)"
	case code == "PermanentRedirect":
		return "?region="
	}
	return ""
}

func answer(t *testing.T, status int, code string, at time.Time) (hostPort string, requests *atomic.Int64) {
	requests = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Date", at.Format(http.TimeFormat))
		w.Header().Set("Content-Type", "application/xml")
		w.Header().Set("X-Amz-Request-Id", "R17")
		w.WriteHeader(status)
		if code != "" {
			_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>words of the store</Message></Error>`, code)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String(), requests
}

// Call makes one call for the object "key".
func Call(t *testing.T, s objstore.Store, op string) error {
	t.Helper()
	return call(t, s, op, objstore.PutOptions{})
}

func call(t *testing.T, s objstore.Store, op string, opt objstore.PutOptions) error {
	t.Helper()
	var err error
	switch op {
	case "put":
		_, err = s.Put(t.Context(), "key", bytes.NewReader([]byte("body")), opt)
	case "get":
		_, err = s.Get(t.Context(), "key", 5, 5)
	case "stat":
		_, err = s.Stat(t.Context(), "key")
	case "delete":
		err = s.Delete(t.Context(), "key")
	case "list":
		for _, e := range s.List(t.Context(), "key", "") {
			err = e
		}
	case "noncurrent":
		for _, e := range s.Noncurrent(t.Context(), "key", "") {
			err = e
		}
	case "delete-version":
		err = s.DeleteVersion(t.Context(), objstore.Version{Key: "key", ID: "id"})
	}
	return err
}

func check(t *testing.T, err error, op string, want error, temporary bool) {
	t.Helper()
	var e *objstore.Error
	if !errors.As(err, &e) || e.Op != op || e.Key != "key" {
		t.Fatalf("got %#v, want an *objstore.Error of %s key", err, op)
	}
	if e.Temporary != temporary {
		t.Errorf("%v: temporary %v, want %v", err, e.Temporary, temporary)
	}
	for _, sentinel := range []error{objstore.ErrNotExist, objstore.ErrExist, objstore.ErrPrecondition, objstore.ErrRange,
		objstore.ErrDenied, objstore.ErrCredentials, objstore.ErrNoBucket, objstore.ErrUnsupported, objstore.ErrNoSpace, objstore.ErrKey} {
		if is := errors.Is(err, sentinel); is != (want != nil && errors.Is(want, sentinel)) {
			t.Errorf("%v: errors.Is %q: %v", err, sentinel, is)
		}
	}
}
