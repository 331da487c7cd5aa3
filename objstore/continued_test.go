package objstore_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cyrusbackup/backupd/objstore"
)

func TestContinued(t *testing.T) {
	requests := 0
	open := func() (io.ReadCloser, error) {
		requests++
		return io.NopCloser(strings.NewReader("the rest")), nil
	}
	if err := iotest.TestReader(objstore.Continued([]byte("the beginning, "), open), []byte("the beginning, the rest")); err != nil || requests != 1 {
		t.Errorf("%d requests, %v", requests, err)
	}
	requests = 0
	r := objstore.Continued([]byte("the beginning"), open)
	if _, err := io.ReadFull(r, make([]byte, 13)); err != nil || requests != 0 {
		t.Errorf("%d requests for the beginning, %v", requests, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	down := errors.New("down")
	_, err := io.ReadAll(objstore.Continued([]byte("a"), func() (io.ReadCloser, error) { return nil, down }))
	if !errors.Is(err, down) {
		t.Errorf("got %v, want %v", err, down)
	}
}
