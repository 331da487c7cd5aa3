// Package miniostore is the objstore driver on minio-go, the lean data path for
// MinIO and other S3-compatible stores. Credentials come from the environment
// (AWS_*, then MINIO_*) or from the shared credentials file.
package miniostore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"backupd/objstore"
	"backupd/objstore/internal/s3wire"
)

// Options are what a Location does not say.
type Options struct {
	Credentials *objstore.Credentials // nil: environment and files
	Stall       time.Duration         // a connection is given up after so long without a byte; 0: two minutes
	PageSize    int                   // keys per request of a list; 0: the store's, 1,000
}

// defaultRegion spares the question where the bucket is, which needs a permission of
// its own; stores without regions take it.
const defaultRegion = "us-east-1"

// Store is a bucket. Keys are whole: the Location's prefix is for package prefixed.
type Store struct {
	core   minio.Core
	bucket string
	tls    bool
	md5    bool
	page   int
}

var _ objstore.Store = (*Store)(nil)

// Open makes a client for a MinIO location without asking the store anything: one
// that is away does not keep a daemon from starting. Missing credentials are an error.
func Open(loc objstore.Location, o Options) (*Store, error) {
	if loc.Scheme != objstore.MinIO {
		return nil, fmt.Errorf("open %s: not a minio location", loc)
	}
	creds, err := findCredentials(loc, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	s3wire.Tune(transport, o.Stall)
	if loc.CAFile != "" {
		if transport.TLSClientConfig.RootCAs, err = s3wire.CAPool(loc.CAFile); err != nil {
			return nil, fmt.Errorf("open %s: %w", loc, err)
		}
	}
	region := loc.Region
	if region == "" {
		region = defaultRegion
	}
	client, err := minio.NewCore(loc.Endpoint, &minio.Options{
		Creds:      creds,
		Secure:     loc.TLS,
		Transport:  s3wire.Dated{RoundTripper: transport},
		Region:     region,
		MaxRetries: 1, // one try: the retry decorator does it, and never for conditional puts
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, err)
	}
	return &Store{core: *client, bucket: loc.Bucket, tls: loc.TLS, md5: loc.ContentMD5, page: o.PageSize}, nil
}

// findCredentials: a profile that the location names is the only source, as in AWS's tools.
func findCredentials(loc objstore.Location, o Options) (*credentials.Credentials, error) {
	if c := o.Credentials; c != nil {
		return credentials.NewStaticV4(c.AccessKey, string(c.SecretKey), string(c.SessionToken)), nil
	}
	file := &credentials.FileAWSCredentials{Profile: loc.Profile}
	if loc.Profile != "" {
		creds := credentials.New(file)
		if _, err := creds.GetWithContext(nil); err != nil {
			return nil, fmt.Errorf("credentials of profile %s: %w", loc.Profile, err)
		}
		return creds, nil
	}
	creds := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.EnvMinio{}, file,
	})
	// A chain that finds nothing gives anonymous access without a word.
	if v, err := creds.GetWithContext(nil); err != nil || v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return nil, errors.New("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, " +
			"MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, or write the shared credentials file")
	}
	return creds, nil
}
