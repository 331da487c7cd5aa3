package faultstore

import (
	"errors"

	"github.com/cyrusbackup/backupd/objstore"
)

// ErrLost is a lost connection, a temporary error.
var ErrLost = errors.New("connection lost")

// ErrBadRequest is a 400 without details, which is S3's answer to HEAD with an expired key.
var ErrBadRequest = errors.New("400 Bad Request")

// Lost fails calls with ErrLost.
func Lost(op, key string) error {
	return &objstore.Error{Op: op, Key: key, Temporary: true, Err: ErrLost}
}

// Denied is a 403.
func Denied(op, key string) error { return &objstore.Error{Op: op, Key: key, Err: objstore.ErrDenied} }

// BadRequest is a 400.
func BadRequest(op, key string) error { return &objstore.Error{Op: op, Key: key, Err: ErrBadRequest} }

// NoBucket is a 404 for the bucket. The answer to HEAD has no body, so it only states that
// the object does not exist; a delete reports nothing at all.
func NoBucket(op, key string) error {
	if op == "stat" {
		return &objstore.Error{Op: op, Key: key, Err: objstore.ErrNotExist}
	}
	return &objstore.Error{Op: op, Key: key, Err: objstore.ErrNoBucket}
}

// asError converts an error to one of the store. Unless it already is one, it is temporary.
func asError(op, key string, err error) error {
	var e *objstore.Error
	if errors.As(err, &e) {
		return err
	}
	return &objstore.Error{Op: op, Key: key, Temporary: true, Err: err}
}
