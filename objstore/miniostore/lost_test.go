package miniostore_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/objstore/retry"
)

// TestLostAnswer breaks real connections between request and answer.
func TestLostAnswer(t *testing.T) {
	srv := miniotest.Start(t)
	bucket := srv.NewBucket(t)
	proxy := srv.NewProxy(t)
	driver := open(t, proxy.Location(bucket), miniostore.Options{Credentials: srv.Credentials()})
	s := retry.New(driver, retry.Options{Initial: time.Millisecond})

	put := func(text string, opt objstore.PutOptions) error {
		_, err := s.Put(t.Context(), "log/1", bytes.NewReader([]byte(text)), opt)
		return err
	}
	read := func() string {
		t.Helper()
		obj, err := s.Get(t.Context(), "log/1", 0, -1)
		if err != nil {
			t.Fatalf("get: %v", err)
		}
		text, err := io.ReadAll(obj)
		if err := errors.Join(err, obj.Close()); err != nil {
			t.Fatalf("get: %v", err)
		}
		return string(text)
	}

	proxy.LoseAnswers(1)
	if err := put("mine", objstore.PutOptions{IfAbsent: true}); !objstore.IsTemporary(err) {
		t.Errorf("conditional put without an answer: %v, want a temporary error", err)
	}
	proxy.LoseAnswers(2)
	if got := read(); got != "mine" {
		t.Errorf("read %q after the put whose answer was lost", got)
	}
	if err := put("mine", objstore.PutOptions{IfAbsent: true}); !errors.Is(err, objstore.ErrExist) {
		t.Errorf("the same put again: %v", err)
	}
	proxy.LoseAnswers(2)
	if err := put("replaced", objstore.PutOptions{}); err != nil {
		t.Errorf("unconditional put, two answers lost: %v", err)
	}
	if got := read(); got != "replaced" {
		t.Errorf("read %q", got)
	}
	proxy.SetDown(true)
	if _, err := driver.Stat(t.Context(), "log/1"); !objstore.IsTemporary(err) {
		t.Errorf("stat of an unreachable store: %v, want a temporary error", err)
	}
	proxy.SetDown(false)
	if _, err := driver.Stat(t.Context(), "log/1"); err != nil {
		t.Errorf("stat after the store returned: %v", err)
	}
}
