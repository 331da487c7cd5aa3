package awsstore

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3keys"
	"github.com/cyrusbackup/backupd/objstore/internal/s3wire"
)

// Put sends the object in one request.
func (s *Store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Err: err}
	}
	return s3wire.Put(&s.md5, func(md5 bool) (objstore.Info, error) {
		return s3keys.Try(s.keys, func() (objstore.Info, error) { return s.put(ctx, key, body, opt, md5) })
	})
}

func (s *Store) put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions, withMD5 bool) (objstore.Info, error) {
	in := &s3.PutObjectInput{
		Bucket:        &s.bucket,
		Key:           &key,
		Body:          io.NewSectionReader(body, 0, body.Size()),
		ContentLength: aws.Int64(body.Size()),
		ContentType:   aws.String("application/octet-stream"),
	}
	if withMD5 {
		sum := md5.New()
		if _, err := io.Copy(sum, io.NewSectionReader(body, 0, body.Size())); err != nil {
			return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Err: fmt.Errorf("body: %w", err)}
		}
		in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(sum.Sum(nil)))
	}
	switch {
	case opt.IfAbsent:
		in.IfNoneMatch = aws.String("*")
	case opt.IfMatch != "":
		in.IfMatch = aws.String(`"` + opt.IfMatch + `"`)
	}
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		return objstore.Info{}, s.failed("put", key, opt, err).Error(ctx)
	}
	date := serverTime(out.ResultMetadata)
	return objstore.Info{Key: key, Size: body.Size(), ETag: bare(out.ETag), Modified: date, StoreTime: date}, nil
}

// Get opens a range in one request. Ranges that a Range header cannot express need a Stat.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	return s3wire.Get(key, off, n,
		func() (*objstore.Object, error) {
			return s3keys.Try(s.keys, func() (*objstore.Object, error) { return s.get(ctx, key, off, n) })
		},
		func() (objstore.Info, error) { return s.stat(ctx, "get", key) })
}

func (s *Store) get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	if r := s3wire.Range(off, n); r != "" {
		in.Range = &r
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return nil, s.failed("get", key, objstore.PutOptions{}, err).Error(ctx)
	}
	date := serverTime(out.ResultMetadata)
	size, err := s3wire.CheckRange(off, n, aws.ToString(out.ContentRange), length(out))
	if err != nil {
		return nil, &objstore.Error{Op: "get", Key: key, StoreTime: date, Err: errors.Join(err, out.Body.Close())}
	}
	return &objstore.Object{
		ReadCloser: &s3wire.Body{Ctx: ctx, Key: key, ReadCloser: out.Body},
		Info: objstore.Info{Key: key, Size: size, ETag: bare(out.ETag),
			Modified: aws.ToTime(out.LastModified), StoreTime: date},
	}, nil
}

// Stat sends a HEAD.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, &objstore.Error{Op: "stat", Key: key, Err: err}
	}
	return s.stat(ctx, "stat", key)
}

func (s *Store) stat(ctx context.Context, op, key string) (objstore.Info, error) {
	return s3keys.Try(s.keys, func() (objstore.Info, error) {
		return s3wire.Stat(ctx,
			func() (objstore.Info, *s3wire.Failure) { return s.head(ctx, op, key) },
			func() (*objstore.Object, error) { return s.get(ctx, key, 0, -1) })
	})
}

func (s *Store) head(ctx context.Context, op, key string) (objstore.Info, *s3wire.Failure) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		f := s.failed(op, key, objstore.PutOptions{}, err)
		return objstore.Info{}, &f
	}
	return objstore.Info{Key: key, Size: aws.ToInt64(out.ContentLength), ETag: bare(out.ETag),
		Modified: aws.ToTime(out.LastModified), StoreTime: serverTime(out.ResultMetadata)}, nil
}

// Delete removes the object; in a versioned bucket it leaves a delete marker.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := objstore.CheckKey(key); err != nil {
		return &objstore.Error{Op: "delete", Key: key, Err: err}
	}
	return s.keys.Try(func() error {
		_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key})
		if err == nil {
			return nil
		}
		err = s.failed("delete", key, objstore.PutOptions{}, err).Error(ctx)
		if errors.Is(err, objstore.ErrNotExist) {
			return nil
		}
		return err
	})
}

// List requests one page at a time, after the previous page has been consumed.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return s3wire.InOrder(prefix, func(yield func(objstore.Info, error) bool) {
		after, nothing := s3wire.ListStart(prefix, startAfter)
		if nothing {
			return
		}
		in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix}
		if after != "" {
			in.StartAfter = &after
		}
		if s.page > 0 {
			in.MaxKeys = &s.page
		}
		for {
			out, err := s3keys.Try(s.keys, func() (*s3.ListObjectsV2Output, error) { return s.onePage(ctx, in) })
			if err != nil {
				yield(objstore.Info{}, err)
				return
			}
			date := serverTime(out.ResultMetadata)
			for _, o := range out.Contents {
				info := objstore.Info{Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size), ETag: bare(o.ETag),
					Modified: aws.ToTime(o.LastModified), StoreTime: date}
				if !yield(info, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			if aws.ToString(out.NextContinuationToken) == "" {
				yield(objstore.Info{}, &objstore.Error{Op: "list", Key: prefix, StoreTime: date,
					Err: errors.New("the store reports more keys but sent no continuation token")})
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	})
}

// onePage sends one list request.
func (s *Store) onePage(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, s.failed("list", aws.ToString(in.Prefix), objstore.PutOptions{}, err).Error(ctx)
	}
	return out, nil
}

// failed converts an SDK error.
func (s *Store) failed(op, key string, opt objstore.PutOptions, err error) s3wire.Failure {
	f := s3wire.Failure{Op: op, Key: key, Put: opt, Err: err, Keys: s.keys.Get().origin}
	var creds *credentialsError
	f.Credentials = errors.As(err, &creds)
	var resp *awshttp.ResponseError
	if errors.As(err, &resp) && resp.HTTPResponse() != nil && resp.HTTPResponse().Response != nil {
		// A 200 here means a truncated or invalid answer, which counts as no answer.
		if status := resp.HTTPStatusCode(); status >= 300 {
			f.Status = status
		}
		f.Request = resp.ServiceRequestID()
		f.Date, _ = http.ParseTime(resp.HTTPResponse().Header.Get("Date"))
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		f.Code, f.Message = api.ErrorCode(), api.ErrorMessage()
	}
	return f
}

func serverTime(m middleware.Metadata) time.Time {
	t, _ := awsmiddleware.GetServerTime(m)
	return t
}

// length returns the answer's Content-Length, or -1 if missing.
func length(out *s3.GetObjectOutput) int64 {
	if out.ContentLength == nil {
		return -1
	}
	return *out.ContentLength
}

// bare removes the quotes from an ETag. Some stores send none.
func bare(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }
