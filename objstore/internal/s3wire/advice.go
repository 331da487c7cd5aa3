package s3wire

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// advice returns what an administrator can do about an answer, as a suffix for the error,
// or "" if only waiting helps.
func (f Failure) advice(sentinel error) string {
	switch {
	case errors.Is(sentinel, objstore.ErrCredentials):
		return ": renew the keys" + f.origin() + "; a running daemon reads them again by itself"
	case errors.Is(sentinel, objstore.ErrDenied):
		return ": allow these keys" + f.origin() + " " + permission(f.Op) + " on the bucket and its prefix"
	case errors.Is(sentinel, objstore.ErrNoBucket):
		return ": create the bucket, or correct bucket, endpoint or region in backuppartition-NAME"
	case errors.Is(sentinel, objstore.ErrNoSpace):
		return ": make room in the store, or raise the quota"
	}
	return f.adviceByCode()
}

// adviceByCode handles answers without a sentinel.
func (f Failure) adviceByCode() string {
	switch f.Code {
	case "RequestTimeTooSkewed":
		text := fmt.Sprintf(": this host's clock shows %s", time.Now().UTC().Format(time.RFC3339))
		if !f.Date.IsZero() {
			text += fmt.Sprintf(", the store's %s", f.Date.UTC().Format(time.RFC3339))
		}
		return text + "; correct the wrong one (NTP)"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion":
		return ": the bucket is in another region or at another endpoint; name it in the location (?region=…)"
	}
	if f.Status == http.StatusMovedPermanently {
		return ": the bucket is in another region; name it in the location (?region=…)"
	}
	return ""
}

func (f Failure) origin() string {
	if f.Keys == "" {
		return ""
	}
	return " (" + f.Keys + ")"
}

// permission returns AWS's name for the required permission.
func permission(op string) string {
	switch op {
	case "put":
		return "s3:PutObject"
	case "delete":
		return "s3:DeleteObject"
	case "list":
		return "s3:ListBucket"
	case "noncurrent":
		return "s3:ListBucketVersions"
	case "settings":
		return "s3:GetBucketVersioning, s3:GetBucketObjectLockConfiguration and s3:GetLifecycleConfiguration"
	case "delete-version":
		return "s3:DeleteObjectVersion and s3:ListBucketVersions"
	}
	// Without s3:ListBucket S3 answers 403 for a missing object.
	return "s3:GetObject and s3:ListBucket"
}

// Silent reports whether an answer to HEAD may hide the cause: HEAD has no body that could
// name an error, and S3 answers 400 or 403 for an expired or unknown key.
func (f Failure) Silent() bool {
	switch f.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		_, _, sentinel := byCode(f.Code) // MinIO sends the code in a header
		return sentinel == nil
	}
	return false
}
