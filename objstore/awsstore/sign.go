package awsstore

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signer always signs with the current secret. The SDK's signer caches the keys derived
// from a secret for a day, by access key, so it continues to use the old secret if only the
// secret changes. (aws/signer/internal/v4/cache.go)
type signer struct {
	mu     sync.Mutex
	secret string
	under  *v4.Signer
}

// SignHTTP signs a request.
func (s *signer) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, payloadHash, service, region string,
	at time.Time, opts ...func(*v4.SignerOptions)) error {
	return s.with(c.SecretAccessKey).SignHTTP(ctx, c, r, payloadHash, service, region, at, opts...)
}

func (s *signer) with(secret string) *v4.Signer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.under == nil || s.secret != secret {
		s.secret = secret
		s.under = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // required by S3
	}
	return s.under
}
