package objstore

import (
	"context"
	"errors"
	"fmt"
)

var errWritten = errors.New("the object was written again meanwhile: repeat this")

// EraseObject removes an object with all its versions and delete markers, and lists them again to
// check it. It can be repeated. Versions that Object Lock retains stay hidden by a delete marker;
// the error is then a RetainedError with the latest end. With ErrUnsupported the object was
// deleted, but nobody knows about its versions.
func EraseObject(ctx context.Context, s Store, key string) error {
	// A delete of a missing object would add another marker.
	_, err := s.Stat(ctx, key)
	if err == nil {
		err = s.Delete(ctx, key)
	}
	if err != nil && !errors.Is(err, ErrNotExist) {
		return err
	}
	if err := eraseVersions(ctx, s, key); err != nil {
		return err
	}
	// While a version is left, its marker hides it.
	if err := eachVersion(ctx, s, key, func(v Version) error {
		if !v.Marker {
			return errWritten
		}
		return s.DeleteVersion(ctx, v)
	}); err != nil {
		return err
	}
	return proveErased(ctx, s, key)
}

// eraseVersions removes the versions that have content.
func eraseVersions(ctx context.Context, s Store, key string) error {
	var retained *RetainedError
	err := eachVersion(ctx, s, key, func(v Version) error {
		if v.Marker {
			return nil
		}
		err := s.DeleteVersion(ctx, v)
		if kept := (*RetainedError)(nil); errors.As(err, &kept) {
			retained = retained.longer(kept)
			return nil
		}
		return err
	})
	if err == nil && retained != nil {
		return &Error{Op: "delete-version", Key: key, Err: retained}
	}
	return err
}

// proveErased returns an error if anything of the object exists.
func proveErased(ctx context.Context, s Store, key string) error {
	err := eachVersion(ctx, s, key, func(v Version) error {
		return fmt.Errorf("version %s is still listed", v.ID)
	})
	if err != nil {
		return err
	}
	switch _, err := s.Stat(ctx, key); {
	case err == nil:
		return &Error{Op: "delete-version", Key: key, Err: errWritten}
	case !errors.Is(err, ErrNotExist):
		return err
	}
	return nil
}

// eachVersion calls fn for the noncurrent versions and the markers of one key.
func eachVersion(ctx context.Context, s Store, key string, fn func(Version) error) error {
	for v, err := range s.Noncurrent(ctx, key, "") {
		if err != nil {
			return err
		}
		if v.Key != key {
			return nil // the key itself comes first of those that begin with it
		}
		if err := fn(v); err != nil {
			if e := (*Error)(nil); errors.As(err, &e) {
				return err
			}
			return &Error{Op: "delete-version", Key: key, StoreTime: v.StoreTime, Err: err}
		}
	}
	return nil
}
