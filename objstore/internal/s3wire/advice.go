package s3wire

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// advice says what a person can do about an answer, to be appended to it; "" where
// there is nothing to do but wait.
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

// adviceByCode is for answers that are none of the sentinels.
func (f Failure) adviceByCode() string {
	switch f.Code {
	case "RequestTimeTooSkewed":
		text := fmt.Sprintf(": the clock of this host says %s", time.Now().UTC().Format(time.RFC3339))
		if !f.Date.IsZero() {
			text += fmt.Sprintf(" and the store's %s", f.Date.UTC().Format(time.RFC3339))
		}
		return text + "; correct the wrong one (NTP)"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion":
		return ": the bucket is in another region or behind another endpoint; name it in the location (?region=…)"
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

// permission is what AWS calls the right to do it.
func permission(op string) string {
	switch op {
	case "put":
		return "s3:PutObject"
	case "delete":
		return "s3:DeleteObject"
	case "list":
		return "s3:ListBucket"
	}
	// Without s3:ListBucket S3 answers 403 for an object that does not exist.
	return "s3:GetObject and s3:ListBucket"
}

// Silent says whether an answer to HEAD may mean more than its status says: HEAD has no
// body that could name an error, and S3 answers 400 or 403 to an expired or unknown key.
func (f Failure) Silent() bool {
	switch f.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		_, _, sentinel := byCode(f.Code) // MinIO says it in a header
		return sentinel == nil
	}
	return false
}
