package miniostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3keys"
)

var _ objstore.Inspector = (*Store)(nil)

// Keys describes the keys.
func (s *Store) Keys(context.Context) (objstore.Keys, error) {
	k := s.keys.Get()
	return objstore.Keys{Origin: k.Origin, Session: k.SessionToken != "", Expires: s3keys.Expiry(k.SessionToken)}, nil
}

// Settings reads the settings of the bucket.
func (s *Store) Settings(ctx context.Context) (out objstore.Settings) {
	v, err := s.core.GetBucketVersioning(ctx, s.bucket)
	out.Versioning, out.VersioningErr = objstore.Versioning(v.Status), s.unread(ctx, "versioning", err, "")
	lock, mode, validity, unit, err := s.core.GetObjectLockConfig(ctx, s.bucket)
	out.LockErr = s.unread(ctx, "object lock", err, "ObjectLockConfigurationNotFoundError")
	out.Locked = err == nil && lock == "Enabled"
	if mode != nil && validity != nil && unit != nil {
		out.Retention = fmt.Sprintf("%s %d %s", *mode, *validity, *unit)
	}
	rules, err := s.core.GetBucketLifecycle(ctx, s.bucket)
	out.RulesErr = s.unread(ctx, "lifecycle", err, "NoSuchLifecycleConfiguration")
	if err == nil {
		for _, r := range rules.Rules {
			if r.Status == "Enabled" {
				out.Rules = append(out.Rules, rule(r))
			}
		}
	}
	return out
}

func rule(r lifecycle.Rule) objstore.LifecycleRule {
	out := objstore.LifecycleRule{
		ID: r.ID, Prefix: r.Prefix + r.RuleFilter.Prefix + r.RuleFilter.And.Prefix,
		Tagged:  !r.RuleFilter.Tag.IsEmpty() || len(r.RuleFilter.And.Tags) > 0,
		Expires: !r.Expiration.IsDaysNull() || !r.Expiration.IsDateNull() || r.AllVersionsExpiration.Days > 0,
		EndsOld: r.NoncurrentVersionExpiration.NoncurrentDays > 0 || r.NoncurrentVersionExpiration.NewerNoncurrentVersions > 0,
	}
	if !r.Transition.IsNull() {
		out.MovesTo = r.Transition.StorageClass
	}
	return out
}

// unread converts an error; the code none means that the bucket has no such setting.
func (s *Store) unread(ctx context.Context, setting string, err error, none string) error {
	if err == nil || none != "" && minio.ToErrorResponse(err).Code == none {
		return nil
	}
	return s.failed("settings", setting, objstore.PutOptions{}, time.Time{}, err).Error(ctx)
}

// MayDelete deletes an object, or a version, that does not exist.
func (s *Store) MayDelete(ctx context.Context, key string, versioned bool) (bool, error) {
	var o minio.RemoveObjectOptions
	if versioned {
		o.VersionID = "null"
	}
	err := s.core.RemoveObject(ctx, s.bucket, key, o)
	if err == nil {
		return true, nil
	}
	err = s.failed("delete", key, objstore.PutOptions{}, time.Time{}, err).Error(ctx)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return true, nil
	case errors.Is(err, objstore.ErrDenied) && !errors.Is(err, objstore.ErrCredentials):
		return false, nil
	}
	return false, err
}
