package miniostore

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3wire"
)

// Noncurrent requests one page at a time, after the previous page has been consumed.
func (s *Store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return s3wire.Noncurrent(prefix, startAfter, s.versions(ctx), func(after string) (some bool, err error) {
		err = s.keys.Try(func() error {
			return s.list(ctx, prefix, after, func(objstore.Info) bool {
				some = true
				return false
			})
		})
		return some, err
	})
}

// versions lists versions. With new keys, a list begins again after the last key whose versions
// were all yielded.
func (s *Store) versions(ctx context.Context) s3wire.Versions {
	return func(prefix, after string, limit int) iter.Seq2[s3wire.Listed, error] {
		return func(yield func(s3wire.Listed, error) bool) {
			key, stopped := "", false
			err := s.keys.Try(func() error {
				return s.listVersions(ctx, prefix, after, limit, func(v s3wire.Listed) bool {
					if v.Key != key && key != "" {
						after = key
					}
					key = v.Key
					stopped = !yield(v, nil)
					return !stopped
				})
			})
			if err != nil && !stopped {
				yield(s3wire.Listed{}, err)
			}
		}
	}
}

func (s *Store) listVersions(ctx context.Context, prefix, after string, limit int, yield func(s3wire.Listed) bool) error {
	if limit == 0 {
		limit = s.page
	}
	dated, date := s3wire.WithDate(ctx)
	for o := range s.core.ListObjectsIter(dated, s.bucket, minio.ListObjectsOptions{
		Prefix: prefix, Recursive: true, StartAfter: after, MaxKeys: limit, WithVersions: true,
	}) {
		if o.Err != nil {
			return s.failedVersions(ctx, prefix, date.Get(), o.Err)
		}
		if !yield(s3wire.Listed{Latest: o.IsLatest, Version: objstore.Version{Key: o.Key, ID: o.VersionID, Size: o.Size,
			Modified: o.LastModified, Marker: o.IsDeleteMarker, StoreTime: date.Get()}}) {
			return nil
		}
	}
	// The SDK ends the sequence silently if the context has ended.
	if err := ctx.Err(); err != nil {
		return &objstore.Error{Op: "noncurrent", Key: prefix, Err: err}
	}
	return nil
}

// failedVersions converts an SDK error. The SDK reads no list of objects where it expects one of
// versions. (api-s3-datatypes.go, ListVersionsResult.UnmarshalXML)
func (s *Store) failedVersions(ctx context.Context, prefix string, date time.Time, err error) error {
	if strings.HasPrefix(err.Error(), "unrecognized option:") {
		return &objstore.Error{Op: "noncurrent", Key: prefix, StoreTime: date,
			Err: fmt.Errorf("%w: the list of versions has an unknown form (%w)", objstore.ErrUnsupported, err)}
	}
	return s.failed("noncurrent", prefix, objstore.PutOptions{}, date, err).Error(ctx)
}

// DeleteVersion removes a version for good.
func (s *Store) DeleteVersion(ctx context.Context, v objstore.Version) error {
	return s3wire.DeleteVersion(v, s3wire.Removal{
		Versions: s.versions(ctx),
		Remove: func() error {
			return s.keys.Try(func() error {
				dated, date := s3wire.WithDate(ctx)
				err := s.core.RemoveObject(dated, s.bucket, v.Key, minio.RemoveObjectOptions{VersionID: v.ID})
				if err == nil {
					return nil
				}
				return s.failed("delete-version", v.Key, objstore.PutOptions{}, date.Get(), err).Error(ctx)
			})
		},
		Retention: func() (time.Time, bool) { return s.retention(ctx, v) },
	})
}

// retention asks for both kinds of protection. A bucket without Object Lock answers with an error.
func (s *Store) retention(ctx context.Context, v objstore.Version) (until time.Time, legalHold bool) {
	if _, t, err := s.core.GetObjectRetention(ctx, s.bucket, v.Key, v.ID); err == nil && t != nil {
		until = *t
	}
	hold, err := s.core.GetObjectLegalHold(ctx, s.bucket, v.Key, minio.GetObjectLegalHoldOptions{VersionID: v.ID})
	return until, err == nil && hold != nil && *hold == minio.LegalHoldEnabled
}
