// Package objstore is the interface to the storage of a partition: a bucket with a prefix,
// or a directory. Drivers are in packages beside it. Retry, limits and observation are
// decorators that wrap any Store.
package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// Store holds immutable or conditionally replaced objects under slash-separated keys
// without a leading or trailing slash. No key is also a prefix directory of another. Every
// method may be called from many goroutines. An object is written whole or not at all:
// after a nil error from Put it is durable and readable by everybody; after an error it may
// exist or not (an unclear answer), but never in part. Objects shown by Get and Stat, and
// the object that ErrExist refers to, are durable too, whoever put them: a writer may rely
// on them. All errors are *Error and match the sentinels below with errors.Is, or
// context.Canceled and context.DeadlineExceeded if the caller's context ended. Keys must
// satisfy CheckKey.
type Store interface {
	// Put writes the object. With opt.IfAbsent it fails with ErrExist if the key is taken;
	// with opt.IfMatch it fails with ErrPrecondition if the object is missing or has
	// another ETag. Body is read from its start, possibly more than once.
	Put(ctx context.Context, key string, body Body, opt PutOptions) (Info, error)
	// Get returns n bytes from off; n < 0 means to the end; off < 0 means the last -off
	// bytes (the whole object if it is shorter; n is then ignored). An offset at or past
	// the end is ErrRange, but offset 0 of an empty object is an empty read. If the object
	// ends earlier, Get returns fewer than n bytes. The caller closes the Object. Its Info
	// describes the whole object. An error in the middle of the body is an *Error too.
	Get(ctx context.Context, key string, off, n int64) (*Object, error)
	// Stat describes the object without its bytes, or returns ErrNotExist. A missing bucket
	// may look the same, because the answer to HEAD has no body.
	Stat(ctx context.Context, key string) (Info, error)
	// List yields the objects whose key begins with prefix, in byte order of the keys, only
	// those after startAfter (a full key, "" for all). It holds at most one page in memory.
	// After an error the sequence ends; the Info beside an error is zero. An object that is
	// put or deleted during the list may be listed or not.
	List(ctx context.Context, prefix, startAfter string) iter.Seq2[Info, error]
	// Delete removes the object. A missing object is not an error. In a versioned bucket the
	// object becomes a noncurrent version, and a delete marker hides it.
	Delete(ctx context.Context, key string) error
	// Noncurrent yields what List does not show: the noncurrent versions and the delete markers
	// of the keys that begin with prefix, only of keys after startAfter. They come in byte order
	// of the keys, those of a key in any order, and sometimes twice. A directory and a bucket
	// that was never versioned have none. A store that cannot list versions answers
	// ErrUnsupported.
	Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[Version, error]
	// DeleteVersion removes a version that Noncurrent has yielded for good. A missing version is
	// not an error. A version that is current by now is refused with ErrPrecondition, and so is
	// a delete marker if the version below it would become current again: versions of a key have
	// to be removed before its markers (EraseObject). ErrRetained means that the bucket forbids it.
	DeleteVersion(ctx context.Context, v Version) error
}

// Body is the content for Put: rewindable, so that a retry can send it again, and of known
// length, so that no store has to buffer it. *bytes.Reader is a Body. Drivers read it by
// ReadAt from offset 0; they neither use nor change its position.
type Body interface {
	io.ReadSeeker
	io.ReaderAt
	Size() int64
}

// PutOptions are the conditions of a Put. At most one is set.
type PutOptions struct {
	IfAbsent bool   // only if the key does not exist (If-None-Match: *)
	IfMatch  string // only if the object has this ETag
}

// Conditional reports whether a repeated Put could conflict with its own first try. The
// retry decorator never repeats such a put (design.md, promise 5).
func (o PutOptions) Conditional() bool { return o.IfAbsent || o.IfMatch != "" }

// Info describes an object.
type Info struct {
	Key       string
	Size      int64     // bytes
	ETag      string    // opaque, for IfMatch; "" if List does not return one
	Modified  time.Time // time of the write, by the store's clock
	StoreTime time.Time // the store's clock in this answer (HTTP Date); zero if unknown
}

// Object is an open object (or a range of one).
type Object struct {
	io.ReadCloser
	Info
}

// The kinds of errors.
var (
	ErrNotExist     = errors.New("object does not exist")
	ErrExist        = errors.New("object exists already")
	ErrPrecondition = errors.New("object has changed")
	ErrRange        = errors.New("offset is past the end of the object")
	// ErrDenied means that the keys have no permission for this.
	ErrDenied = errors.New("access denied")
	// ErrCredentials means that the store rejects the keys, or that no keys are available;
	// it also matches ErrDenied. Temporary: keys expire, are revoked and replaced, and the
	// same call succeeds with the new keys. The retry decorator does not wait for that.
	ErrCredentials = fmt.Errorf("%w: the credentials are not accepted", ErrDenied)
	ErrNoBucket    = errors.New("bucket or directory does not exist")
	// ErrUnsupported means that the store does not support the operation (501).
	ErrUnsupported = errors.New("operation not supported by the store")
	// ErrNoSpace means a full disk or an exhausted quota. Temporary: somebody may free
	// space.
	ErrNoSpace = errors.New("no space left in the store")
	// ErrKey means that the key violates the rules of CheckKey; the store was not called.
	ErrKey = errors.New("key not allowed")
)

// Error is a failed operation on a key. Err wraps one of the sentinels or the driver's own
// error. StoreTime is the store's clock, if it answered.
type Error struct {
	Op        string // put, get, stat, list, delete, noncurrent, delete-version
	Key       string
	StoreTime time.Time
	// Temporary: the same call may succeed later (timeouts, 5xx, 429, lost connections).
	Temporary bool
	Status    int // of the HTTP answer; 0: there was none
	Err       error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Key, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// IsTemporary reports whether waiting and retrying can help.
func IsTemporary(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Temporary
}

// StoreTimeOf returns the store's clock stated with an error, or zero.
func StoreTimeOf(err error) time.Time {
	var e *Error
	if errors.As(err, &e) {
		return e.StoreTime
	}
	return time.Time{}
}

// StatusOf returns the status of the HTTP answer that was an error; 0: there was no such answer.
func StatusOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}
