package objstoretest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

// errLost is the error of an operation whose answer was lost.
var errLost = errors.New("answer lost")

// LoseAnswer wraps a store so that the next Put after Arm takes effect but fails, as if a
// connection broke between request and answer.
type LoseAnswer struct {
	objstore.Store
	armed atomic.Bool
}

// Arm makes the next Put lose its answer.
func (l *LoseAnswer) Arm() { l.armed.Store(true) }

// Put puts.
func (l *LoseAnswer) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	info, err := l.Store.Put(ctx, key, body, opt)
	if err == nil && l.armed.CompareAndSwap(true, false) {
		return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Temporary: true, Err: errLost}
	}
	return info, err
}

// testLostAnswer: after an unclear answer the writer finds its own bytes. Repeating the
// conditional put is refused and changes nothing.
func testLostAnswer(t *testing.T, under objstore.Store) {
	s := &LoseAnswer{Store: under}
	s.Arm()
	_, err := putIf(t, s, "log/1", "mine", objstore.PutOptions{IfAbsent: true})
	if !objstore.IsTemporary(err) {
		t.Fatalf("put: %v, want a temporary error", err)
	}
	wantText(t, s, "log/1", "mine")
	_, err = putIf(t, s, "log/1", "mine too", objstore.PutOptions{IfAbsent: true})
	wantErr(t, "put", "log/1", err, objstore.ErrExist)
	wantText(t, s, "log/1", "mine")

	before := put(t, s, "head", "one")
	s.Arm()
	_, err = putIf(t, s, "head", "two", objstore.PutOptions{IfMatch: before.ETag})
	if !objstore.IsTemporary(err) {
		t.Fatalf("put: %v, want a temporary error", err)
	}
	_, err = putIf(t, s, "head", "two again", objstore.PutOptions{IfMatch: before.ETag})
	wantErr(t, "put", "head", err, objstore.ErrPrecondition)
	wantText(t, s, "head", "two")
}
