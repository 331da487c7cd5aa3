package awsstore

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3keys"
	"github.com/cyrusbackup/backupd/objstore/internal/s3wire"
)

// Noncurrent requests one page at a time, after the previous page has been consumed.
func (s *Store) Noncurrent(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Version, error] {
	return s3wire.Noncurrent(prefix, startAfter, s.versions(ctx), func(after string) (bool, error) {
		in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, MaxKeys: aws.Int32(1)}
		if after != "" {
			in.StartAfter = &after
		}
		out, err := s3keys.Try(s.keys, func() (*s3.ListObjectsV2Output, error) { return s.onePage(ctx, in) })
		return err == nil && len(out.Contents) > 0, err
	})
}

// versions lists versions, those of a key before its markers as far as they are in the same page.
func (s *Store) versions(ctx context.Context) s3wire.Versions {
	return func(prefix, after string, limit int) iter.Seq2[s3wire.Listed, error] {
		return func(yield func(s3wire.Listed, error) bool) {
			in := &s3.ListObjectVersionsInput{Bucket: &s.bucket, Prefix: &prefix}
			if after != "" {
				in.KeyMarker = &after
			}
			if page := int32(limit); page > 0 { //nolint:gosec // 1 or 2
				in.MaxKeys = &page
			} else if s.page > 0 {
				in.MaxKeys = &s.page
			}
			for {
				out, err := s3keys.Try(s.keys, func() (*s3.ListObjectVersionsOutput, error) { return s.pageOfVersions(ctx, in) })
				if err != nil {
					yield(s3wire.Listed{}, err)
					return
				}
				date := serverTime(out.ResultMetadata)
				if !merged(out, date, yield) || !aws.ToBool(out.IsTruncated) {
					return
				}
				if aws.ToString(out.NextKeyMarker) == "" {
					yield(s3wire.Listed{}, &objstore.Error{Op: "noncurrent", Key: prefix, StoreTime: date,
						Err: errors.New("the store reports more versions but sent no marker")})
					return
				}
				in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
			}
		}
	}
}

// pageOfVersions sends one list request.
func (s *Store) pageOfVersions(ctx context.Context, in *s3.ListObjectVersionsInput) (*s3.ListObjectVersionsOutput, error) {
	out, err := s.client.ListObjectVersions(ctx, in)
	if err != nil {
		return nil, s.failed("noncurrent", aws.ToString(in.Prefix), objstore.PutOptions{}, err).Error(ctx)
	}
	return out, nil
}

// merged yields a page in the order of the keys: the SDK separates versions and markers.
func merged(out *s3.ListObjectVersionsOutput, date time.Time, yield func(s3wire.Listed, error) bool) bool {
	markers := out.DeleteMarkers
	markersBefore := func(key *string) bool {
		for len(markers) > 0 && (key == nil || aws.ToString(markers[0].Key) < *key) {
			m := markers[0]
			markers = markers[1:]
			if !yield(s3wire.Listed{Latest: aws.ToBool(m.IsLatest), Version: objstore.Version{Key: aws.ToString(m.Key),
				ID: aws.ToString(m.VersionId), Modified: aws.ToTime(m.LastModified), Marker: true, StoreTime: date}}, nil) {
				return false
			}
		}
		return true
	}
	for _, v := range out.Versions {
		if !markersBefore(v.Key) || !yield(s3wire.Listed{Latest: aws.ToBool(v.IsLatest), Version: objstore.Version{Key: aws.ToString(v.Key),
			ID: aws.ToString(v.VersionId), Size: aws.ToInt64(v.Size), Modified: aws.ToTime(v.LastModified), StoreTime: date}}, nil) {
			return false
		}
	}
	return markersBefore(nil)
}

// DeleteVersion removes a version for good.
func (s *Store) DeleteVersion(ctx context.Context, v objstore.Version) error {
	return s3wire.DeleteVersion(v, s3wire.Removal{
		Versions: s.versions(ctx),
		Remove: func() error {
			return s.keys.Try(func() error {
				_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &v.Key, VersionId: &v.ID})
				if err == nil {
					return nil
				}
				return s.failed("delete-version", v.Key, objstore.PutOptions{}, err).Error(ctx)
			})
		},
		Retention: func() (time.Time, bool) { return s.retention(ctx, v) },
	})
}

// retention asks for both kinds of protection. A bucket without Object Lock answers with an error.
func (s *Store) retention(ctx context.Context, v objstore.Version) (until time.Time, legalHold bool) {
	r, err := s.client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &s.bucket, Key: &v.Key, VersionId: &v.ID})
	if err == nil && r.Retention != nil {
		until = aws.ToTime(r.Retention.RetainUntilDate)
	}
	h, err := s.client.GetObjectLegalHold(ctx, &s3.GetObjectLegalHoldInput{Bucket: &s.bucket, Key: &v.Key, VersionId: &v.ID})
	return until, err == nil && h.LegalHold != nil && h.LegalHold.Status == types.ObjectLockLegalHoldStatusOn
}
