// Package awsstore is the objstore driver on aws-sdk-go-v2, for AWS with its whole
// credential chain (environment, profiles, SSO, web identity, container and instance
// roles) and for other stores by their endpoint.
package awsstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3keys"
	"github.com/cyrusbackup/backupd/objstore/internal/s3wire"
)

// Options are the settings that are not part of a Location.
type Options struct {
	Credentials *objstore.Credentials // nil: AWS's credential chain
	// CredentialsFile is the only file to read them from; "" for AWS's chain.
	CredentialsFile string
	Log             *slog.Logger  // nil discards
	Stall           time.Duration // close a connection after this time without a byte; 0: two minutes
	PageSize        int32         // keys per list request; 0: the store's default, 1,000
}

// defaultRegion is the region that stores other than AWS expect in a signature.
const defaultRegion = "us-east-1"

// Store is a bucket. Keys are full keys: package prefixed adds the Location's prefix.
type Store struct {
	client *s3.Client
	keys   *s3keys.Watched[keys]
	md5    s3wire.ContentMD5
	bucket string
	page   int32
}

var _ objstore.Store = (*Store)(nil)

// Open makes a client for an S3 location. It reads configuration and credential files, but
// contacts neither the store nor a credential service, so that an unreachable bucket does
// not prevent a daemon from starting. ctx is only for the reading.
func Open(ctx context.Context, loc objstore.Location, o Options) (*Store, error) {
	if loc.Scheme != objstore.S3 {
		return nil, fmt.Errorf("open %s: not an s3 location", loc)
	}
	find := s3keys.Options{File: o.CredentialsFile, Profile: loc.Profile, Log: o.Log}
	if o.Credentials != nil {
		find = s3keys.Options{Given: true, Log: o.Log}
	}
	opts, err := configOptions(loc, o, find)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, err)
	}
	watched, err := watchKeys(ctx, find, opts)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, err)
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err == nil {
		err = setRegion(&cfg, loc)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, err)
	}
	client := s3.NewFromConfig(cfg, func(so *s3.Options) {
		so.Credentials = provider{watched}
		so.HTTPSignerV4 = new(signer)
		so.Retryer = aws.NopRetryer{} // the retry decorator retries, but never conditional puts
		so.UsePathStyle = loc.PathStyle
		so.DisableLogOutputChecksumValidationSkipped = true
		if loc.Endpoint != "" {
			so.BaseEndpoint = aws.String(loc.Endpoint)
		}
	})
	s := &Store{client: client, keys: watched, bucket: loc.Bucket, page: o.PageSize}
	s.md5.Init(loc, o.Log)
	return s, nil
}

// configOptions configure the SDK.
func configOptions(loc objstore.Location, o Options, find s3keys.Options) ([]func(*config.LoadOptions) error, error) {
	httpClient := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		s3wire.Tune(t, o.Stall)
	})
	opts := []func(*config.LoadOptions) error{
		config.WithHTTPClient(httpClient),
		config.WithLogger(logging.Nop{}), // its default is standard error, which nobody reads
		// Unrequested checksums break stores other than AWS.
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	}
	if loc.Region != "" {
		opts = append(opts, config.WithRegion(loc.Region))
	}
	credentialsFile, configFile := find.Paths()
	opts = append(opts, config.WithSharedCredentialsFiles([]string{credentialsFile}))
	if configFile != "" {
		opts = append(opts, config.WithSharedConfigFiles([]string{configFile}))
	} else {
		opts = append(opts, config.WithSharedConfigFiles([]string{}))
	}
	if find.File != "" || find.Profile != "" { // then ignore the environment
		opts = append(opts, config.WithSharedConfigProfile(find.ProfileName()))
	}
	if loc.CAFile != "" {
		pem, err := os.ReadFile(loc.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		opts = append(opts, func(o *config.LoadOptions) error {
			return config.WithCustomCABundle(bytes.NewReader(pem))(o) // a new reader for each load
		})
	}
	if c := o.Credentials; c != nil {
		opts = append(opts, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(c.AccessKey, string(c.SecretKey), string(c.SessionToken))))
	}
	return opts, nil
}

// setRegion determines the region.
func setRegion(cfg *aws.Config, loc objstore.Location) error {
	if cfg.Region == "" && loc.Endpoint == "" {
		return errors.New("no region: name it in the location (?region=…), in AWS_REGION or in the profile")
	}
	if cfg.Region == "" {
		cfg.Region = defaultRegion
	}
	return nil
}
