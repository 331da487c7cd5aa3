// Package awsstore is the objstore driver on aws-sdk-go-v2, for AWS with its whole
// credential chain (environment, profiles, SSO, web identity, container and instance
// roles) and for other stores by their endpoint.
package awsstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"backupd/objstore"
	"backupd/objstore/internal/s3wire"
)

// Options are what a Location does not say.
type Options struct {
	Credentials *objstore.Credentials // nil: AWS's chain
	Stall       time.Duration         // a connection is given up after so long without a byte; 0: two minutes
	PageSize    int32                 // keys per request of a list; 0: the store's, 1,000
}

// defaultRegion is what stores other than AWS expect in a signature.
const defaultRegion = "us-east-1"

// Store is a bucket. Keys are whole: the Location's prefix is for package prefixed.
type Store struct {
	client *s3.Client
	bucket string
	md5    bool
	page   int32
}

var _ objstore.Store = (*Store)(nil)

// Open makes a client for an S3 location. It reads configuration and credential
// files, but asks neither the store nor a credential service: a bucket that is away
// does not keep a daemon from starting. ctx is for the reading only.
func Open(ctx context.Context, loc objstore.Location, o Options) (*Store, error) {
	if loc.Scheme != objstore.S3 {
		return nil, fmt.Errorf("open %s: not an s3 location", loc)
	}
	cfg, err := loadConfig(ctx, loc, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, err)
	}
	client := s3.NewFromConfig(cfg, func(so *s3.Options) {
		so.Retryer = aws.NopRetryer{} // the retry decorator does it, and never for conditional puts
		so.UsePathStyle = loc.PathStyle
		so.DisableLogOutputChecksumValidationSkipped = true
		if loc.Endpoint != "" {
			so.BaseEndpoint = aws.String(loc.Endpoint)
		}
	})
	return &Store{client: client, bucket: loc.Bucket, md5: loc.ContentMD5, page: o.PageSize}, nil
}

func loadConfig(ctx context.Context, loc objstore.Location, o Options) (aws.Config, error) {
	httpClient := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		s3wire.Tune(t, o.Stall)
	})
	opts := []func(*config.LoadOptions) error{
		config.WithHTTPClient(httpClient),
		// Checksums that nobody asked for break stores other than AWS.
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	}
	if loc.Region != "" {
		opts = append(opts, config.WithRegion(loc.Region))
	}
	if loc.Profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(loc.Profile))
	}
	if loc.CAFile != "" {
		pem, err := os.ReadFile(loc.CAFile)
		if err != nil {
			return aws.Config{}, fmt.Errorf("ca: %w", err)
		}
		opts = append(opts, config.WithCustomCABundle(bytes.NewReader(pem)))
	}
	if c := o.Credentials; c != nil {
		opts = append(opts, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(c.AccessKey, string(c.SecretKey), string(c.SessionToken))))
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return aws.Config{}, err
	}
	if cfg.Region == "" && loc.Endpoint == "" {
		return aws.Config{}, errors.New("no region: name it in the location (?region=…), in AWS_REGION or in the profile")
	}
	if cfg.Region == "" {
		cfg.Region = defaultRegion
	}
	if cfg.Credentials != nil {
		cfg.Credentials = markedCredentials{cfg.Credentials}
	}
	return cfg, nil
}

// markedCredentials makes a failure of the credential chain recognisable: the SDK
// wraps it in plain text.
type markedCredentials struct{ aws.CredentialsProvider }

type credentialsError struct{ error }

func (e *credentialsError) Unwrap() error { return e.error }

func (m markedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := m.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return c, &credentialsError{err}
	}
	return c, nil
}
