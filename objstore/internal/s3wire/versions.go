package s3wire

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Listed is a version as a store lists it, current or not.
type Listed struct {
	objstore.Version
	Latest bool
}

// Versions yields the versions of the keys with a prefix, after a key, and at first asks for at
// most limit of them (0: the default).
type Versions func(prefix, after string, limit int) iter.Seq2[Listed, error]

var errNoID = errors.New("the version has no id")

var errVersionsIgnored = fmt.Errorf("%w: it lists no version, but objects", objstore.ErrUnsupported)

// Noncurrent yields the versions that are not current. hasObject reports whether an object with
// the prefix is listed after a key: some stores ignore that versions were asked for, and then it
// looks as if there were none.
func Noncurrent(prefix, startAfter string, versions Versions, hasObject func(after string) (bool, error)) iter.Seq2[objstore.Version, error] {
	return func(yield func(objstore.Version, error) bool) {
		after, nothing := ListStart(prefix, startAfter)
		if nothing {
			return
		}
		failed := func(err error) {
			yield(objstore.Version{}, &objstore.Error{Op: "noncurrent", Key: prefix, StoreTime: objstore.StoreTimeOf(err), Status: objstore.StatusOf(err), Err: err})
		}
		last := after
		for v, err := range versions(prefix, after, 0) {
			switch {
			case err != nil:
				yield(objstore.Version{}, err)
				return
			case v.Key < last:
				failed(fmt.Errorf("%w: keys come out of order: %q after %q", objstore.ErrUnsupported, v.Key, last))
				return
			}
			last = v.Key
			if (v.Marker || !v.Latest) && !yield(v.Version, nil) {
				return
			}
		}
		if last != after {
			return
		}
		if ignored, err := ignoresVersions(prefix, after, versions, hasObject); err != nil {
			yield(objstore.Version{}, err)
		} else if ignored {
			failed(errVersionsIgnored)
		}
	}
}

// ignoresVersions reports whether a store lists objects but no versions.
func ignoresVersions(prefix, after string, versions Versions, hasObject func(after string) (bool, error)) (bool, error) {
	if some, err := hasObject(after); err != nil || !some {
		return false, err
	}
	for _, err := range versions(prefix, after, 1) { // the object may have been put in between
		return false, err
	}
	return true, nil
}

// Removal has the requests that DeleteVersion needs.
type Removal struct {
	Versions Versions
	Remove   func() error
	// Retention asks until when the version is retained, and whether it has a legal hold. What
	// is unknown is zero.
	Retention func() (until time.Time, legalHold bool)
}

// DeleteVersion removes a version unless it is current, or a marker that hides the version below
// it. S3 has no conditions for this, so the versions are listed first.
func DeleteVersion(v objstore.Version, r Removal) error {
	err := objstore.CheckKey(v.Key)
	if err == nil && v.ID == "" { // S3 would delete the object
		err = errNoID
	}
	if err != nil {
		return &objstore.Error{Op: "delete-version", Key: v.Key, Err: err}
	}
	if err := needed(v, r.Versions); err != nil {
		return ofVersion(v, err)
	}
	err = r.Remove()
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return nil
	case err == nil, objstore.IsTemporary(err), errors.Is(err, objstore.ErrNoBucket), errors.Is(err, objstore.ErrUnsupported):
		return err
	}
	until, hold := r.Retention()
	retained := &objstore.RetainedError{LegalHold: hold}
	if now := objstore.StoreTimeOf(err); until.After(now) {
		retained.Until = until
	}
	if retained.LegalHold || !retained.Until.IsZero() || saysLocked(err) {
		return &objstore.Error{Op: "delete-version", Key: v.Key, StoreTime: objstore.StoreTimeOf(err), Err: retained}
	}
	return err
}

// saysLocked recognises the refusals of AWS ("Access Denied because object protected by object
// lock.") and MinIO ("Object is WORM protected and cannot be overwritten").
func saysLocked(err error) bool {
	text := err.Error()
	return strings.Contains(text, "object lock") || strings.Contains(text, "WORM protected")
}

// needed returns an error if the version must not be removed.
func needed(v objstore.Version, versions Versions) error {
	var newest []Listed
	for have, err := range versions(v.Key, "", 2) {
		if err != nil {
			return err
		}
		if have.Key != v.Key {
			break
		}
		if newest = append(newest, have); len(newest) == 2 {
			break
		}
	}
	for i, have := range newest {
		switch {
		case !have.Latest || have.ID != v.ID:
		case !have.Marker:
			return fmt.Errorf("%w: version %s is the current one", objstore.ErrPrecondition, v.ID)
		case len(newest) == 2 && !newest[1-i].Marker:
			return fmt.Errorf("%w: without this delete marker, version %s would be current again", objstore.ErrPrecondition, newest[1-i].ID)
		}
	}
	return nil
}

// ofVersion makes err an error of DeleteVersion.
func ofVersion(v objstore.Version, err error) error {
	var e *objstore.Error
	if !errors.As(err, &e) {
		return &objstore.Error{Op: "delete-version", Key: v.Key, Err: err}
	}
	of := *e
	of.Op, of.Key = "delete-version", v.Key
	return &of
}
