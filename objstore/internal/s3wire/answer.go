// Package s3wire is what the two S3 drivers share: what an answer means, ranges,
// paging and the HTTP transport. It knows no SDK.
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

// Failure is a request that did not succeed, as a driver has taken it from its SDK.
type Failure struct {
	Op, Key string
	Put     objstore.PutOptions
	Status  int       // 0 when there was no answer
	Code    string    // S3's error code, where the answer had a body
	Message string    // S3's words
	Date    time.Time // of the answer
	Err     error     // the SDK's error
	// Credentials: the request was not sent because no credentials were to be had.
	Credentials bool
	Keys        string // where the keys come from, in words
}

// Error gives the *objstore.Error of a failure.
func (f Failure) Error(ctx context.Context) error {
	e := &objstore.Error{Op: f.Op, Key: f.Key, StoreTime: f.Date}
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
	if sentinel == nil {
		e.Err = errors.New(text + f.advice(nil))
	} else {
		e.Err = fmt.Errorf("%w (%s)%s", sentinel, text, f.advice(sentinel))
	}
	return e
}

// unanswered judges an error without a response. All of them are taken for
// temporary, but those that only a person can mend.
func (f Failure) unanswered(ctx context.Context) (err error, temporary bool) {
	if cause := ctx.Err(); cause != nil {
		return cause, false
	}
	if f.Credentials {
		// Temporary, since a role's credentials come over a network as well.
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

// ErrContentMD5 reports that the bucket accepts no put without Content-MD5, as one with a default
// Object Lock retention does. Nothing was stored.
var ErrContentMD5 = errors.New("the bucket wants Content-MD5")

// wantsMD5 says whether the answer is that. AWS and MinIO have a code of their own for a
// header that is not there only where the request itself locks the object.
func (f Failure) wantsMD5() bool {
	return f.Op == "put" && (f.Code == "MissingContentMD5" || f.Status == http.StatusBadRequest && strings.Contains(f.Message, "Content-MD5") && f.Code != "BadDigest")
}

// meaning translates status and code. Codes come first: stores agree on them more
// than on the status they send with them.
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
	case "ConditionalRequestConflict", "OperationAborted", // 409 while another write is under way
		"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", // damaged on the way
		"RequestTimeTooSkewed", // aws-sdk learns the offset from this answer
		"SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable",
		"Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded":
		return true, true, nil
	}
	return false, false, nil
}

// lost is what a failed condition means.
func (f Failure) lost() error {
	if f.Put.IfAbsent {
		return objstore.ErrExist
	}
	return objstore.ErrPrecondition
}

func (f Failure) notFound() error {
	switch {
	case f.Op == "put" && f.Put.IfMatch != "":
		return objstore.ErrPrecondition // gone
	case f.Op == "put" || f.Op == "list":
		return objstore.ErrNoBucket
	}
	return objstore.ErrNotExist
}
