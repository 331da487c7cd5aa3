package rangecache_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
)

func TestReadsARangeOnce(t *testing.T) {
	under := memstore.New(time.Now)
	body := bytes.Repeat([]byte("0123456789"), 1000)
	if _, err := under.Put(t.Context(), "packs/a", bytes.NewReader(body), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	c := new(observe.Counter)
	s := rangecache.New(observe.New(under, c.Hooks()), 300)
	read := func(off, n int64) {
		t.Helper()
		o, err := s.Get(t.Context(), "packs/a", off, n)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		got, err := io.ReadAll(o)
		if err != nil || !bytes.Equal(got, body[off:off+n]) {
			t.Errorf("%d+%d: %q, %v", off, n, got, err)
		}
	}
	for _, step := range []struct{ off, n, gets int64 }{
		{0, 100, 1}, {0, 100, 1}, {100, 100, 2}, {0, 100, 2}, {200, 150, 3}, // 350 bytes: the oldest, 100+100, is dropped
		{0, 100, 3}, {100, 100, 4},
	} {
		read(step.off, step.n)
		if got := int64(c.Snapshot()["get"].Requests); got != step.gets {
			t.Errorf("after %d+%d: %d requests, want %d", step.off, step.n, got, step.gets)
		}
	}
}
