package awsstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3keys"
)

var _ objstore.Inspector = (*Store)(nil)

// Keys gets the keys, from a role of the host too.
func (s *Store) Keys(ctx context.Context) (objstore.Keys, error) {
	k := s.keys.Get()
	c, err := provider{s.keys}.Retrieve(ctx)
	if err != nil {
		return objstore.Keys{Origin: k.origin}, &objstore.Error{Op: "keys", Key: s.bucket, Err: fmt.Errorf("%w: %w", objstore.ErrCredentials, err)}
	}
	out := objstore.Keys{Origin: k.origin, Session: c.SessionToken != "", Renewed: !k.fixed.HasKeys()}
	if out.Renewed && c.Source != "" {
		out.Origin = c.Source
	}
	if out.Expires = s3keys.Expiry(objstore.Secret(c.SessionToken)); c.CanExpire {
		out.Expires = c.Expires
	}
	return out, nil
}

// Settings reads the settings of the bucket.
func (s *Store) Settings(ctx context.Context) (out objstore.Settings) {
	v, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.bucket})
	if out.VersioningErr = s.unread(ctx, "versioning", err, ""); err == nil {
		out.Versioning = objstore.Versioning(v.Status)
	}
	lock, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.bucket})
	if out.LockErr = s.unread(ctx, "object lock", err, "ObjectLockConfigurationNotFoundError"); err == nil && lock.ObjectLockConfiguration != nil {
		out.Locked = lock.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled
		if r := lock.ObjectLockConfiguration.Rule; r != nil && r.DefaultRetention != nil {
			out.Retention = retentionText(r.DefaultRetention)
		}
	}
	rules, err := s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &s.bucket})
	if out.RulesErr = s.unread(ctx, "lifecycle", err, "NoSuchLifecycleConfiguration"); err == nil {
		for _, r := range rules.Rules {
			if r.Status == types.ExpirationStatusEnabled {
				out.Rules = append(out.Rules, rule(r))
			}
		}
	}
	return out
}

func retentionText(r *types.DefaultRetention) string {
	if r.Years != nil {
		return fmt.Sprintf("%s %d YEARS", r.Mode, *r.Years)
	}
	return fmt.Sprintf("%s %d DAYS", r.Mode, aws.ToInt32(r.Days))
}

func rule(r types.LifecycleRule) objstore.LifecycleRule {
	out := objstore.LifecycleRule{ID: aws.ToString(r.ID), Prefix: aws.ToString(r.Prefix)} //nolint:staticcheck // old rules have it
	if f := r.Filter; f != nil {
		out.Prefix += aws.ToString(f.Prefix)
		out.Tagged = f.Tag != nil
		if f.And != nil {
			out.Prefix += aws.ToString(f.And.Prefix)
			out.Tagged = len(f.And.Tags) > 0
		}
	}
	if e := r.Expiration; e != nil {
		out.Expires = e.Date != nil || aws.ToInt32(e.Days) > 0
	}
	out.EndsOld = r.NoncurrentVersionExpiration != nil
	if len(r.Transitions) > 0 {
		out.MovesTo = string(r.Transitions[0].StorageClass)
	}
	return out
}

// unread converts an error; the code none means that the bucket has no such setting.
func (s *Store) unread(ctx context.Context, setting string, err error, none string) error {
	var api smithy.APIError
	if err == nil || none != "" && errors.As(err, &api) && api.ErrorCode() == none {
		return nil
	}
	return s.failed("settings", setting, objstore.PutOptions{}, err).Error(ctx)
}

// MayDelete deletes an object, or a version, that does not exist.
func (s *Store) MayDelete(ctx context.Context, key string, versioned bool) (bool, error) {
	in := &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key}
	if versioned {
		in.VersionId = aws.String("null")
	}
	_, err := s.client.DeleteObject(ctx, in)
	if err == nil {
		return true, nil
	}
	err = s.failed("delete", key, objstore.PutOptions{}, err).Error(ctx)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return true, nil
	case errors.Is(err, objstore.ErrDenied) && !errors.Is(err, objstore.ErrCredentials):
		return false, nil
	}
	return false, err
}
