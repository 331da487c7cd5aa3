package s3test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// stall is the silence after which the drivers of RunBroken close a connection.
const stall = 200 * time.Millisecond

// RunBroken checks that failures on the network are temporary errors, and that only the
// store decides about ranges.
func RunBroken(t *testing.T, open Open) {
	serve := func(t *testing.T, h http.HandlerFunc) objstore.Store {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.CloseClientConnections)
		return open(t, srv.Listener.Addr().String(), stall)
	}
	t.Run("nobody there", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		check(t, call(t, open(t, l.Addr().String(), stall), "put", objstore.PutOptions{IfAbsent: true}), "put", nil, true)
	})
	t.Run("closed without an answer", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		})
		for _, op := range []string{"put", "get", "stat", "list", "delete"} {
			check(t, call(t, s, op, objstore.PutOptions{}), op, nil, true)
		}
	})
	t.Run("silence", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		check(t, call(t, s, "stat", objstore.PutOptions{}), "stat", nil, true)
	})
	t.Run("redirect before the upload ends", func(t *testing.T) {
		for range 20 {
			s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMovedPermanently) })
			_, err := s.Put(t.Context(), "key", bytes.NewReader(make([]byte, 8<<20)), objstore.PutOptions{})
			// Some uploads fail before the answer is read: a temporary error.
			check(t, err, "put", nil, objstore.IsTemporary(err))
		}
	})
	t.Run("body breaks off", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			partOf(w, 100)
			_, _ = w.Write(make([]byte, 50))
		})
		check(t, readAll(t, s), "get", nil, true)
	})
	t.Run("body goes silent", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			partOf(w, 100)
			_, _ = w.Write(make([]byte, 50))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		check(t, readAll(t, s), "get", nil, true)
	})
	t.Run("range ignored", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			describe(w, 100)
			_, _ = w.Write(make([]byte, 100))
		})
		_, err := s.Get(t.Context(), "key", 5, 5)
		check(t, err, "get", objstore.ErrUnsupported, false)
	})
	t.Run("HEAD refused, GET answered", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			describe(w, 100)
			_, _ = w.Write(make([]byte, 100))
		})
		info, err := s.Stat(t.Context(), "key")
		if err != nil || info.Size != 100 || info.ETag != "etag" {
			t.Errorf("stat: %+v, %v", info, err)
		}
	})
	t.Run("no length", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			describe(w, 100)
			w.Header().Del("Content-Length")
			_, _ = w.Write(make([]byte, 50))
			_ = http.NewResponseController(w).Flush() // chunked from here on
			panic(http.ErrAbortHandler)
		})
		_, err := s.Get(t.Context(), "key", 0, -1)
		check(t, err, "get", objstore.ErrUnsupported, false)
	})
	t.Run("not HTTP", func(t *testing.T) {
		srv := httptest.NewTLSServer(http.NotFoundHandler())
		t.Cleanup(srv.Close)
		err := call(t, open(t, srv.Listener.Addr().String(), stall), "stat", objstore.PutOptions{})
		if err == nil {
			t.Error("TLS was treated as HTTP")
		}
	})
}

func describe(w http.ResponseWriter, length int) {
	w.Header().Set("Content-Length", fmt.Sprint(length))
	w.Header().Set("ETag", `"etag"`)
	w.Header().Set("Last-Modified", time.Unix(1e9, 0).UTC().Format(http.TimeFormat))
}

// partOf announces length bytes from 5 of an object of 1000.
func partOf(w http.ResponseWriter, length int) {
	describe(w, length)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/1000", 5+length-1))
	w.WriteHeader(http.StatusPartialContent)
}

func readAll(t *testing.T, s objstore.Store) error {
	t.Helper()
	obj, err := s.Get(t.Context(), "key", 5, 100)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	n, err := io.Copy(io.Discard, obj)
	if n != 50 {
		t.Errorf("%d bytes came, want 50", n)
	}
	_ = obj.Close() // the body broke off; nothing was written
	return err
}
