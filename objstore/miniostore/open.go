// Package miniostore is the objstore driver on minio-go, the lean data path for MinIO and
// other S3-compatible stores. Package s3keys finds its keys.
package miniostore

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3keys"
	"github.com/cyrusbackup/backupd/objstore/internal/s3wire"
)

// Options are the settings that are not part of a Location.
type Options struct {
	Credentials *objstore.Credentials // nil: environment and files
	// CredentialsFile is the only file to read them from; "" for the files of AWS's tools.
	CredentialsFile string
	Log             *slog.Logger  // nil discards
	Stall           time.Duration // close a connection after this time without a byte; 0: two minutes
	PageSize        int           // keys per list request; 0: the store's default, 1,000
}

// defaultRegion avoids a request for the bucket's region, which needs a separate
// permission. Stores without regions accept it.
const defaultRegion = "us-east-1"

// Store is a bucket. Keys are full keys: package prefixed adds the Location's prefix.
type Store struct {
	core   minio.Core
	keys   *s3keys.Watched[s3keys.Found]
	md5    s3wire.ContentMD5
	bucket string
	tls    bool
	page   int
}

var _ objstore.Store = (*Store)(nil)

// Open makes a client for a MinIO location without contacting the store, so that an
// unreachable store does not prevent a daemon from starting. Missing credentials are an
// error.
func Open(loc objstore.Location, o Options) (*Store, error) {
	if loc.Scheme != objstore.MinIO {
		return nil, fmt.Errorf("open %s: not a minio location", loc)
	}
	keys, err := watchKeys(loc, o)
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
		Creds:      credentials.New(provider{keys}),
		Secure:     loc.TLS,
		Transport:  s3wire.Dated{RoundTripper: settled{transport}},
		Region:     region,
		MaxRetries: 1, // no retries: the retry decorator retries, but never conditional puts
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, err)
	}
	s := &Store{core: *client, keys: keys, bucket: loc.Bucket, tls: loc.TLS, page: o.PageSize}
	s.md5.Init(loc, o.Log)
	return s, nil
}

// watchKeys finds the keys and watches the files that may contain them.
func watchKeys(loc objstore.Location, o Options) (*s3keys.Watched[s3keys.Found], error) {
	w := s3keys.Watching[s3keys.Found]{
		Options: s3keys.Options{File: o.CredentialsFile, Profile: loc.Profile, Log: o.Log},
		Same:    func(a, b s3keys.Found) bool { return a.Credentials == b.Credentials },
	}
	w.Load = w.Find
	if c := o.Credentials; c != nil {
		w.Given = true
		w.Load = func() (s3keys.Found, error) { return s3keys.Found{Credentials: *c}, nil }
	}
	return s3keys.Watch(w)
}

// provider gives the SDK the current keys.
type provider struct {
	keys *s3keys.Watched[s3keys.Found]
}

// RetrieveWithCredContext is Retrieve.
func (p provider) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return p.Retrieve()
}

// Retrieve returns the keys.
func (p provider) Retrieve() (credentials.Value, error) {
	k := p.keys.Get()
	return credentials.Value{AccessKeyID: k.AccessKey, SecretAccessKey: string(k.SecretKey),
		SessionToken: string(k.SessionToken), SignerType: credentials.SignatureV4}, nil
}

// IsExpired makes the SDK call Retrieve for each request, which costs only a check of a
// file.
func (p provider) IsExpired() bool { return true }
