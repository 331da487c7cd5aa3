package awsstore

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/cyrusbackup/backupd/objstore/internal/s3keys"
)

// keys are what AWS's chain has come to.
type keys struct {
	chain  aws.CredentialsProvider
	fixed  aws.Credentials // the keys themselves, where they stand somewhere as they are
	origin string          // in words
}

// watchKeys runs AWS's chain, again whenever one of its files has changed. Roles and
// tokens that come over a network are asked for with the first request.
func watchKeys(ctx context.Context, find s3keys.Options, opts []func(*config.LoadOptions) error) (*s3keys.Watched[keys], error) {
	ctx = context.WithoutCancel(ctx) // reading files goes on for the life of the store
	return s3keys.Watch(s3keys.Watching[keys]{
		Options: find,
		Load:    func() (keys, error) { return loadKeys(ctx, find, opts) },
		Same: func(a, b keys) bool {
			return a.fixed.HasKeys() && a.fixed.AccessKeyID == b.fixed.AccessKeyID &&
				a.fixed.SecretAccessKey == b.fixed.SecretAccessKey && a.fixed.SessionToken == b.fixed.SessionToken
		},
	})
}

func loadKeys(ctx context.Context, find s3keys.Options, opts []func(*config.LoadOptions) error) (keys, error) {
	if err := find.Check(); err != nil {
		return keys{}, err
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return keys{}, err
	}
	k := keys{chain: cfg.Credentials, origin: origin(find)}
	if aws.IsCredentialsProvider(k.chain, credentials.StaticCredentialsProvider{}) {
		k.fixed, err = k.chain.Retrieve(ctx)
	}
	return k, err
}

func origin(find s3keys.Options) string {
	path, _ := find.Paths()
	profile := fmt.Sprintf("profile %s of %s", find.ProfileName(), path)
	switch {
	case find.Given:
		return ""
	case find.File != "" || find.Profile != "":
		return profile
	case os.Getenv("AWS_ACCESS_KEY_ID") != "":
		return "AWS_ACCESS_KEY_ID of the environment"
	}
	return profile + ", or the role of this host"
}

// provider gives the SDK the keys as they are now.
type provider struct{ watched *s3keys.Watched[keys] }

// credentialsError makes a failure of the chain recognisable: the SDK wraps it in plain text.
type credentialsError struct{ error }

func (e *credentialsError) Unwrap() error { return e.error }

// Retrieve returns the keys.
func (p provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	k := p.watched.Get()
	if k.chain == nil {
		return aws.Credentials{}, &credentialsError{errors.New("no credentials (" + k.origin + ")")}
	}
	c, err := k.chain.Retrieve(ctx)
	if err != nil {
		return c, &credentialsError{fmt.Errorf("no credentials (%s): %w", k.origin, err)}
	}
	return c, nil
}
