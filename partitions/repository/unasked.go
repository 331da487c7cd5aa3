package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// UnaskedError is the error of a partition that could not be read: its store did not answer or
// refused.
type UnaskedError struct {
	Partition Config
	Err       error
}

// Error names the partition and its location.
func (u UnaskedError) Error() string {
	return fmt.Sprintf("partition %s (%s) cannot be read: %v", u.Partition.Name, u.Partition.Location, u.Err)
}

func (u UnaskedError) Unwrap() error { return u.Err }

// ErrUnknown reports that no readable partition holds the backup, and that some partitions
// could not be read.
var ErrUnknown = errors.New("cannot determine whether the backup exists")

// notFound returns the error for a backup that no readable partition holds.
func notFound(what string, parts []Config, unasked []UnaskedError) error {
	var asked, errs []string
	for _, u := range unasked {
		errs = append(errs, u.Error())
	}
	for _, p := range parts {
		if !isUnasked(p, unasked) {
			asked = append(asked, p.Name+" ("+p.Location+")")
		}
	}
	switch {
	case len(unasked) == 0:
		return fmt.Errorf("%s: %w in %s", what, ErrNoBackup, strings.Join(asked, ", "))
	case len(asked) == 0:
		return fmt.Errorf("%s: %w: %s", what, ErrUnknown, strings.Join(errs, "; "))
	}
	return fmt.Errorf("%s: %w: %s; not found in %s", what, ErrUnknown, strings.Join(errs, "; "), strings.Join(asked, ", "))
}

func isUnasked(p Config, unasked []UnaskedError) bool {
	for _, u := range unasked {
		if u.Partition.Name == p.Name {
			return true
		}
	}
	return false
}

// CopiesOf returns the copies of a backup, which can be several after a move, and the
// partitions that could not be read.
func CopiesOf(ctx context.Context, parts []Config, n Name) (out []*Found, unasked []UnaskedError, err error) {
	for _, p := range parts {
		info, read, err := readBackupInfo(ctx, p.Store, n.Path())
		if errors.Is(err, objstore.ErrNotExist) {
			continue
		}
		if IsStoreError(err) && ctx.Err() == nil {
			unasked = append(unasked, UnaskedError{p, err})
			continue
		}
		if err == nil {
			err = info.Check(n)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("partition %s: %w", p.Name, err)
		}
		out = append(out, &Found{Partition: p, Path: n.Path(), Info: *info, read: read})
	}
	return out, unasked, nil
}

// MayBeOld returns an error if the backup may have been moved to a partition that could
// not be read, and nil if all were read.
func (f *Found) MayBeOld() error {
	if len(f.Unasked) == 0 {
		return nil
	}
	var errs []string
	for _, u := range f.Unasked {
		errs = append(errs, u.Error())
	}
	return fmt.Errorf("%s. If the backup of %s was moved there, its copy in partition %s is out of date", strings.Join(errs, "; "), f.Name(), f.Partition.Name)
}
