package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// testReadWhileReplacing: a reader gets one version or the other, never a mixture.
func testReadWhileReplacing(t *testing.T, s objstore.Store) {
	version := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), 200_000+i) }
	put(t, s, "v", version(0))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20 {
			if _, err := putIf(t, s, "v", version(i), objstore.PutOptions{}); err != nil {
				t.Errorf("put: %v", err)
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		text, info, err := get(t, s, "v", 0, -1)
		if err != nil {
			t.Errorf("get: %v", err)
			continue
		}
		if i := len(text) - 200_000; i < 0 || text != version(i) || info.Size != int64(len(text)) {
			t.Errorf("read a mixture of %d bytes", len(text))
		}
	}
	<-done
}

func testCancelled(t *testing.T, s objstore.Store) {
	put(t, s, "c", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Put(ctx, "new", bytes.NewReader([]byte("x")), objstore.PutOptions{})
	wantErr(t, "put", "new", err, context.Canceled)
	_, err = s.Get(ctx, "c", 0, -1)
	wantErr(t, "get", "c", err, context.Canceled)
	_, err = s.Stat(ctx, "c")
	wantErr(t, "stat", "c", err, context.Canceled)
	wantErr(t, "delete", "c", s.Delete(ctx, "c"), context.Canceled)
	n := 0
	for info, err := range s.List(ctx, "", "") {
		n++
		wantErr(t, "list", "", err, context.Canceled)
		if info != (objstore.Info{}) {
			t.Errorf("info beside an error: %+v", info)
		}
	}
	if n != 1 {
		t.Errorf("a cancelled list yielded %d times, want one error", n)
	}
	past, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	_, err = s.Stat(past, "c")
	wantErr(t, "stat", "c", err, context.DeadlineExceeded)
	wantText(t, s, "c", "x")
	if keys := keysOf(list(t, s, "", "")); len(keys) != 1 {
		t.Errorf("store contains %q, want only c", keys)
	}
}

// testCancelledBody: the body ends with the context.
func testCancelledBody(t *testing.T, s objstore.Store) {
	if _, err := s.Put(t.Context(), "c", bytes.NewReader(make([]byte, 12<<20)), objstore.PutOptions{}); err != nil {
		t.Fatalf("put: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	obj, err := s.Get(ctx, "c", 0, -1)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	if _, err := io.ReadFull(obj, make([]byte, 1000)); err != nil {
		t.Fatalf("read: %v", err)
	}
	cancel()
	_, err = io.Copy(io.Discard, obj)
	wantErr(t, "get", "c", err, context.Canceled)
	if err := obj.Close(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
}

// testStoreTime: every answer states the store's time. Here store and test run on hosts
// whose clocks agree to a few seconds.
func testStoreTime(t *testing.T, s objstore.Store) {
	check := func(what string, at time.Time) {
		t.Helper()
		if skew := time.Since(at); at.IsZero() || skew.Abs() > 10*time.Second {
			t.Errorf("%s: store time %v, now %v", what, at, time.Now())
		}
	}
	info := put(t, s, "t", "x")
	check("put", info.StoreTime)
	check("put, modified", info.Modified)
	_, info, err := get(t, s, "t", 0, -1)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	check("get", info.StoreTime)
	_, info, err = get(t, s, "t", 0, 0)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	check("get of nothing", info.StoreTime)
	info, err = s.Stat(t.Context(), "t")
	if err != nil {
		t.Fatalf("stat: %v", err)
	}
	check("stat", info.StoreTime)
	check("stat, modified", info.Modified)
	for _, info := range list(t, s, "t", "") {
		check("list", info.StoreTime)
	}
	_, err = s.Stat(t.Context(), "absent")
	check("stat of nothing", objstore.StoreTimeOf(err))
	_, _, err = get(t, s, "absent", 0, -1)
	check("get of nothing", objstore.StoreTimeOf(err))
	_, _, err = get(t, s, "t", 10, -1)
	check("get past the end", objstore.StoreTimeOf(err))
	_, err = putIf(t, s, "t", "y", objstore.PutOptions{IfAbsent: true})
	check("put if absent over an object", objstore.StoreTimeOf(err))
	_, err = putIf(t, s, "t", "y", objstore.PutOptions{IfMatch: "0123456789abcdef0123456789abcdef"})
	check("put over another version", objstore.StoreTimeOf(err))
}
