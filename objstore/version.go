package objstore

import (
	"errors"
	"fmt"
	"time"
)

// Version is a noncurrent version of an object in a versioned bucket, or a delete marker.
type Version struct {
	Key       string
	ID        string    // opaque; "null" if the object is older than the versioning of the bucket
	Size      int64     // bytes
	Modified  time.Time // time of the write, by the store's clock
	Marker    bool      // a delete marker, which has no content. It may be the newest version
	StoreTime time.Time // the store's clock in this answer; zero if unknown
}

// ErrRetained means that Object Lock forbids the removal of a version. RetainedError has the details.
var ErrRetained = errors.New("version is retained by the bucket's Object Lock")

// RetainedError reports until when a version cannot be removed, as far as the store discloses it.
type RetainedError struct {
	Until     time.Time // the end of its retention; zero if there is none or it is unknown
	LegalHold bool      // it has a legal hold, which ends only when somebody releases it
}

func (e *RetainedError) Error() string {
	switch {
	case e.LegalHold:
		return ErrRetained.Error() + ": it has a legal hold; whoever placed it must release it"
	case e.Until.IsZero():
		return ErrRetained.Error() + ": the store does not disclose until when (s3:GetObjectRetention)"
	}
	return fmt.Sprintf("%v until %s", ErrRetained, e.Until.UTC().Format(time.RFC3339))
}

// Is makes the error match ErrRetained.
func (e *RetainedError) Is(target error) bool { return target == ErrRetained } //nolint:errorlint // this is errors.Is

// longer returns the one of two errors that lasts longer.
func (e *RetainedError) longer(other *RetainedError) *RetainedError {
	if e == nil {
		return other
	}
	joined := *e
	joined.LegalHold = e.LegalHold || other.LegalHold
	if other.Until.After(e.Until) {
		joined.Until = other.Until
	}
	return &joined
}
