// Package objstore is the one way to the bytes of a partition: a bucket with a
// prefix, or a directory. Drivers live in packages beside it; retry, limits and
// observation are decorators that wrap any Store.
package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// Store holds immutable or conditionally replaced objects under slash-separated
// keys without a leading or trailing slash; no key is also a prefix directory of
// another. Every method may be called from many goroutines. An object is written
// whole or not at all: after a nil error from Put it is durable and readable by
// everybody; after an error it may be there or not (an unclear answer), never in
// part. What Get and Stat show, and the object that ErrExist speaks of, is durable
// too, whoever put it: a writer may build on it. All errors are *Error and match the
// sentinels below with errors.Is, or context.Canceled and context.DeadlineExceeded
// when the caller's context ended. Keys keep to CheckKey.
type Store interface {
	// Put writes the object. With opt.IfAbsent it fails with ErrExist when the key
	// is taken; with opt.IfMatch it fails with ErrPrecondition when the object's
	// ETag is another one or the object is gone. Body is read from its start, maybe more than once.
	Put(ctx context.Context, key string, body Body, opt PutOptions) (Info, error)
	// Get returns n bytes from off; n < 0 means to the end; off < 0 means the last
	// -off bytes (the whole object when it is shorter; n is then ignored). An offset
	// at or past the end is ErrRange, but offset 0 of an empty object is an empty read.
	// A short tail is returned as it is: fewer than n bytes. The caller closes the
	// Object. Info in it describes the whole object. An error in the middle of the body
	// is an *Error too.
	Get(ctx context.Context, key string, off, n int64) (*Object, error)
	// Stat describes the object without its bytes; ErrNotExist when it is absent. A
	// missing bucket may look like that too: the answer to HEAD has no body to tell.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields the objects whose key begins with prefix, in byte order of the
	// keys, only those after startAfter (a full key, "" for all). It holds at most
	// one page in memory. After an error the sequence ends; the Info beside an error
	// is zero. An object that is put or deleted meanwhile is listed or not.
	List(ctx context.Context, prefix, startAfter string) iter.Seq2[Info, error]
	// Delete removes the object; an absent one is no error.
	Delete(ctx context.Context, key string) error
}

// Body is what Put writes: rewindable, so that a retry can send it again, and of
// known length, so that no store has to buffer it. *bytes.Reader is one. Drivers
// read it by ReadAt from offset 0, so its position neither matters nor moves.
type Body interface {
	io.ReadSeeker
	io.ReaderAt
	Size() int64
}

// PutOptions are the conditions of a Put. At most one of them is set.
type PutOptions struct {
	IfAbsent bool   // only when the key does not exist (If-None-Match: *)
	IfMatch  string // only over the object with this ETag
}

// Conditional says whether a repetition of the Put could meet its own first try.
// The retry decorator never repeats such a put by itself (design.md, promise 5).
func (o PutOptions) Conditional() bool { return o.IfAbsent || o.IfMatch != "" }

// Info describes an object.
type Info struct {
	Key       string
	Size      int64     // bytes
	ETag      string    // opaque, for IfMatch; "" where List does not give one
	Modified  time.Time // when it was written, by the store's clock
	StoreTime time.Time // the store's clock when it gave this answer (HTTP Date); zero if it said none
}

// Object is an open object (or a range of one).
type Object struct {
	io.ReadCloser
	Info
}

// The outcomes that callers tell apart.
var (
	ErrNotExist     = errors.New("object does not exist")
	ErrExist        = errors.New("object exists already")
	ErrPrecondition = errors.New("object has changed")
	ErrRange        = errors.New("offset is past the end of the object")
	// ErrDenied: the keys are not allowed to do this.
	ErrDenied = errors.New("access denied")
	// ErrCredentials: the store does not accept the keys, or none are to be had; it is
	// ErrDenied as well. Temporary: keys expire, are revoked and are exchanged, and the
	// same call succeeds with the new ones. The retry decorator does not wait for that.
	ErrCredentials = fmt.Errorf("%w: the credentials are not accepted", ErrDenied)
	ErrNoBucket    = errors.New("bucket or directory does not exist")
	// ErrUnsupported: the store said that it does not know the operation (501).
	ErrUnsupported = errors.New("operation not supported by the store")
	// ErrNoSpace: a full disk, a quota. Temporary: room is made by somebody else.
	ErrNoSpace = errors.New("no space left in the store")
	// ErrKey: the key breaks the rules of CheckKey; nothing was asked of the store.
	ErrKey = errors.New("key not allowed")
)

// Error is an operation on a key that failed. Err wraps one of the sentinels or
// the driver's own error; StoreTime is the store's clock, where it answered at all.
type Error struct {
	Op        string // put, get, stat, list, delete
	Key       string
	StoreTime time.Time
	// Temporary: the same call may succeed later (timeouts, 5xx, 429, lost connections).
	Temporary bool
	Err       error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Key, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// IsTemporary says whether waiting and trying again can help.
func IsTemporary(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Temporary
}

// StoreTimeOf returns the store's clock as stated with an error, or zero.
func StoreTimeOf(err error) time.Time {
	var e *Error
	if errors.As(err, &e) {
		return e.StoreTime
	}
	return time.Time{}
}
