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

// keys are the result of AWS's credential chain.
type keys struct {
	chain  aws.CredentialsProvider
	fixed  aws.Credentials // the keys themselves, if a file or variable contains them
	origin string          // a description of their source
}

// watchKeys runs AWS's credential chain, and again whenever one of its files changes. Roles
// and tokens that need the network are requested with the first call.
func watchKeys(ctx context.Context, find s3keys.Options, opts []func(*config.LoadOptions) error) (*s3keys.Watched[keys], error) {
	ctx = context.WithoutCancel(ctx) // the files are read again during the life of the store
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

// provider gives the SDK the current keys.
type provider struct{ watched *s3keys.Watched[keys] }

// credentialsError marks a failure of the credential chain, which the SDK wraps as plain
// text.
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
