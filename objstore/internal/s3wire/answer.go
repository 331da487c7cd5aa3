// Package s3wire is shared by the two S3 drivers: the meaning of answers, ranges, paging
// and the HTTP transport. It depends on no SDK.
package s3wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Failure is a failed request, as a driver reads it from its SDK's error.
type Failure struct {
	Op, Key string
	Put     objstore.PutOptions
	Status  int       // 0 without an answer
	Code    string    // S3's error code, if the answer had a body
	Message string    // S3's text
	Request string    // the store's id of the request, for its operator; "" if there was none
	Date    time.Time // of the answer
	Err     error     // the SDK's error
	// Credentials: the request was not sent because no credentials were available.
	Credentials bool
	Keys        string // a description of where the keys come from
}

// Error returns the *objstore.Error of a failure.
func (f Failure) Error(ctx context.Context) error {
	e := &objstore.Error{Op: f.Op, Key: f.Key, StoreTime: f.Date, Status: f.Status}
	if f.Status == 0 {
		e.Err, e.Temporary = f.unanswered(ctx)
		return e
	}
	sentinel, temporary := f.meaning()
	e.Temporary = temporary
	text := strings.TrimSpace(fmt.Sprintf("%d %s", f.Status, f.Code))
	if f.Message != "" {
		text += ": " + f.Message
	}
	if f.Request != "" {
		text += ", request " + f.Request
	}
	if sentinel == nil {
		e.Err = errors.New(text + f.advice(nil))
	} else {
		e.Err = fmt.Errorf("%w (%s)%s", sentinel, text, f.advice(sentinel))
	}
	return e
}

// unanswered classifies an error without a response. Everything is temporary except errors
// that only a person can fix.
func (f Failure) unanswered(ctx context.Context) (err error, temporary bool) {
	if cause := ctx.Err(); cause != nil {
		return cause, false
	}
	if f.Credentials {
		// Temporary, because a role's credentials also come over a network.
		return fmt.Errorf("%w: %w", objstore.ErrCredentials, f.Err), true
	}
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		ca     x509.UnknownAuthorityError
		host   x509.HostnameError
	)
	person := errors.As(f.Err, &verify) || errors.As(f.Err, &record) || errors.As(f.Err, &ca) ||
		errors.As(f.Err, &host) || errors.Is(f.Err, http.ErrSchemeMismatch)
	return f.Err, !person
}

// ErrContentMD5 reports that the bucket accepts no put without Content-MD5, because it has
// a default Object Lock retention. Nothing was stored.
var ErrContentMD5 = errors.New("the bucket requires Content-MD5")

// wantsMD5 recognises this answer. AWS and MinIO use a specific code for the missing header
// only if the request itself locks the object.
func (f Failure) wantsMD5() bool {
	return f.Op == "put" && (f.Code == "MissingContentMD5" || f.Status == http.StatusBadRequest && strings.Contains(f.Message, "Content-MD5") && f.Code != "BadDigest")
}

// meaning translates code and status. Codes come first, because stores agree on them more
// than on the status.
func (f Failure) meaning() (sentinel error, temporary bool) {
	if known, temporary, sentinel := byCode(f.Code); known {
		return sentinel, temporary
	}
	switch {
	case f.wantsMD5():
		return ErrContentMD5, false
	case f.Status == http.StatusPreconditionFailed, f.Op == "put" && f.Status == http.StatusNotModified:
		return f.lost(), false
	case f.Status == http.StatusNotFound:
		return f.notFound(), false
	case f.Status == http.StatusRequestedRangeNotSatisfiable:
		return objstore.ErrRange, false
	case f.Status == http.StatusUnauthorized:
		return objstore.ErrCredentials, true
	case f.Status == http.StatusForbidden:
		return objstore.ErrDenied, false
	case f.Status == http.StatusNotImplemented:
		return objstore.ErrUnsupported, false
	case f.Status == http.StatusInsufficientStorage:
		return objstore.ErrNoSpace, true
	case f.Status == http.StatusRequestTimeout, f.Status == http.StatusTooManyRequests, f.Status >= 500:
		return nil, true
	}
	return nil, false
}

func byCode(code string) (known, temporary bool, sentinel error) {
	switch code {
	case "NoSuchBucket":
		return true, false, objstore.ErrNoBucket
	case "NotImplemented":
		return true, false, objstore.ErrUnsupported
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired",
		"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidTokenId", "InvalidClientTokenId",
		"UnrecognizedClientException", "AuthFailure", "NotSignedUp", "InvalidSecurity":
		return true, true, objstore.ErrCredentials
	case "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded":
		return true, true, objstore.ErrNoSpace
	case "ConditionalRequestConflict", "OperationAborted", // 409 during another write
		"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", // damaged in transit
		"RequestTimeTooSkewed", // aws-sdk learns the offset from this answer
		"SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable",
		"Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded":
		return true, true, nil
	}
	return false, false, nil
}

// lost returns the meaning of a failed condition.
func (f Failure) lost() error {
	if f.Put.IfAbsent {
		return objstore.ErrExist
	}
	return objstore.ErrPrecondition
}

func (f Failure) notFound() error {
	switch {
	case f.Op == "put" && f.Put.IfMatch != "":
		return objstore.ErrPrecondition // the object is missing
	case f.Op == "put", f.Op == "list", f.Op == "noncurrent":
		return objstore.ErrNoBucket
	}
	return objstore.ErrNotExist
}
