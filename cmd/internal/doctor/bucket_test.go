package doctor

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/objstore/probe"
)

const prefix = "site"

// site is a bucket with keys of a daemon.
type site struct {
	*host
	srv    *miniotest.Server
	bucket string
	allow  []string // actions on objects of the partition
	list   []string // actions on the bucket
	probe  []string // actions below probe/
	valid  time.Duration
	driver string
}

// newSite makes a healthy host with a bucket.
func newSite(t *testing.T, srv *miniotest.Server, bucket string) *site {
	t.Helper()
	s := &site{host: newHost(t), srv: srv, bucket: bucket, valid: 6 * 24 * time.Hour, driver: "minio"}
	s.soon = time.Hour // the certificate of the test's server is valid for a day
	s.allow = []string{"s3:PutObject", "s3:GetObject"}
	s.list = []string{"s3:ListBucket", "s3:GetBucketVersioning", "s3:GetLifecycleConfiguration", "s3:GetBucketObjectLockConfiguration"}
	s.probe = []string{"s3:DeleteObject"}
	return s
}

// limit makes the keys.
func (s *site) limit() {
	s.t.Helper()
	var statements []string
	for resource, actions := range map[string][]string{s.bucket: s.list, s.bucket + "/" + prefix + "/*": s.allow, s.bucket + "/" + prefix + "/probe/*": s.probe} {
		if len(actions) > 0 {
			statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":["%s"],"Resource":["arn:aws:s3:::%s"]}`, strings.Join(actions, `","`), resource))
		}
	}
	s.keys(s.srv.Limited(s.t, s.valid, strings.Join(statements, ",")))
}

func (s *site) location() objstore.Location {
	l := s.srv.Location(s.bucket)
	if s.driver == "s3" {
		l = s.srv.S3Location(s.bucket)
	}
	l.Prefix = prefix
	return l
}

func TestHealthyBucket(t *testing.T) {
	srv := miniotest.Start(t)
	for _, driver := range []string{"minio", "s3"} {
		s := newSite(t, srv, srv.NewBucket(t))
		s.driver = driver
		s.limit()
		s.set("backuppartition-default", s.location().String())
		s.prepare()
		all := Run(t.Context(), s.options())
		if bad := faults(all); len(bad) > 0 {
			t.Errorf("%s: a healthy host:\n%s", driver, table(all))
		}
		if left := s.objects(); len(left) > 0 {
			t.Errorf("%s: objects were left: %q", driver, left)
		}
	}
}

// A versioned bucket is healthy with a rule that ends noncurrent versions, and with Object Lock.
func TestHealthyVersionedBucket(t *testing.T) {
	srv := miniotest.StartTLS(t)
	s := newSite(t, srv, srv.NewLockedBucket(t))
	s.rules(lifecycle.Rule{ID: "old", Status: "Enabled", NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 30}})
	s.limit()
	s.set("backuppartition-default", s.location().String())
	s.prepare()
	if bad := s.run(); len(bad) > 0 {
		t.Errorf("a healthy host:\n%s", table(bad))
	}
}

// objects lists the current objects of the bucket.
func (s *site) objects() (keys []string) {
	s.t.Helper()
	for o := range s.srv.Client(s.t).ListObjectsIter(context.Background(), s.bucket, minio.ListObjectsOptions{Recursive: true}) {
		s.must(o.Err)
		keys = append(keys, o.Key)
	}
	return keys
}

func (s *site) rules(rules ...lifecycle.Rule) {
	s.t.Helper()
	s.must(s.srv.Client(s.t).SetBucketLifecycle(s.t.Context(), s.bucket, &lifecycle.Configuration{Rules: rules}))
}

// Each fault of a bucket, its policy or its keys has exactly one finding.
func TestBucketFaults(t *testing.T) {
	srv, secure := miniotest.Start(t), miniotest.StartTLS(t)
	without := func(all []string, action string) (out []string) {
		for _, a := range all {
			if a != action {
				out = append(out, a)
			}
		}
		return out
	}
	expire := lifecycle.Expiration{Days: 30}
	for name, c := range map[string]struct {
		plant func(*site)
		after func(*site) // with the keys
		want
	}{
		"no bucket":     {plant: func(s *site) { s.bucket = "no-such-bucket" }, want: want{Error, "partition default", "imapd.conf:9", "", "create the bucket"}},
		"no list":       {plant: func(s *site) { s.list = nil }, want: want{Error, "partition default", "imapd.conf:9", "AccessDenied", "s3:ListBucket"}},
		"no put":        {plant: func(s *site) { s.allow = without(s.allow, "s3:PutObject") }, want: want{Error, "partition default", "imapd.conf:9", "put", "s3:PutObject"}},
		"no get":        {plant: func(s *site) { s.allow = without(s.allow, "s3:GetObject") }, want: want{Error, "partition default", "imapd.conf:9", "AccessDenied", "s3:GetObject"}},
		"no probe":      {plant: func(s *site) { s.probe = nil }, want: want{Warning, "partition default", "imapd.conf:9", "site/" + probe.Kept, "site/probe/*"}},
		"may delete":    {plant: func(s *site) { s.allow = append(s.allow, "s3:DeleteObject") }, want: want{Warning, "partition default", "imapd.conf:9", "may delete objects", "take s3:DeleteObject"}},
		"deletes rules": {plant: func(s *site) { s.rules(lifecycle.Rule{ID: "all", Status: "Enabled", Expiration: expire}) }, want: want{Error, "partition default", "site?tls=no", `rule "all" deletes`, "remove the rule"}},
		"deletes packs": {plant: func(s *site) {
			s.rules(lifecycle.Rule{ID: "p", Status: "Enabled", Expiration: expire, RuleFilter: lifecycle.Filter{Prefix: "site/packs/"}},
				lifecycle.Rule{ID: "other", Status: "Enabled", Expiration: expire, RuleFilter: lifecycle.Filter{Prefix: "sites/"}})
		}, want: want{Error, "partition default", "site?tls=no", `rule "p" deletes`, "remove the rule"}},
		"versions for ever": {plant: func(s *site) { s.bucket = srv.NewVersionedBucket(s.t) }, want: want{Warning, "partition default", "site?tls=no", "noncurrent versions", "add a rule"}},
		"suspended":         {plant: func(s *site) { s.must(srv.Client(s.t).SuspendVersioning(s.t.Context(), s.bucket)) }, want: want{Warning, "partition default", "site?tls=no", "suspended", "put-bucket-versioning"}},
		"may delete versions": {plant: func(s *site) {
			s.bucket = srv.NewVersionedBucket(s.t)
			s.rules(lifecycle.Rule{ID: "old", Status: "Enabled", NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 30}})
			s.allow = append(s.allow, "s3:DeleteObject", "s3:DeleteObjectVersion") // MinIO wants both
		}, want: want{Warning, "partition default", "imapd.conf:9", "may delete versions", "take s3:DeleteObjectVersion"}},
		"lock without retention": {plant: func(s *site) {
			s.bucket = "lock-" + strings.TrimPrefix(s.bucket, "test-")
			s.must(srv.Client(s.t).MakeBucket(s.t.Context(), s.bucket, minio.MakeBucketOptions{ObjectLocking: true}))
			s.rules(lifecycle.Rule{ID: "old", Status: "Enabled", NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 30}})
		}, want: want{Warning, "partition default", "site?tls=no", "without a default retention", "put-object-lock-configuration"}},
		"keys end soon": {plant: func(s *site) { s.valid = time.Hour }, want: want{Warning, "partition default", "/keys", "the keys expire at", "role"}},
		"keys have ended": {after: func(s *site) {
			token := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, now.Add(-time.Hour).Unix()))
			s.keys(&objstore.Credentials{AccessKey: "a", SecretKey: "b", SessionToken: objstore.Secret("x." + token + ".y")})
		}, want: want{Error, "partition default", "/keys", "have expired", "role"}},
		"unknown keys": {after: func(s *site) { s.keys(&objstore.Credentials{AccessKey: "nobody-knows", SecretKey: "secret"}) },
			want: want{Error, "partition default", "imapd.conf:9", "credentials are not accepted", "valid keys"}},
		"no keys":        {after: func(s *site) { s.write("keys", "[other]\n", 0o600) }, want: want{Error, "partition default", "imapd.conf:9", "no profile default", "write the keys"}},
		"keys for all":   {after: func(s *site) { s.must(os.Chmod(s.path("keys"), 0o644)) }, want: want{Warning, "options", "keys", "other users", "chmod 600"}},
		"no TLS there":   {after: func(s *site) { s.set("backuppartition-default", strings.TrimSuffix(s.location().String(), "?tls=no")) }, want: want{Error, "partition default", "imapd.conf:9", "handshake", "tls=no"}},
		"nobody listens": {after: func(s *site) { s.set("backuppartition-default", "minio://127.0.0.1:1/bucket/site?tls=no") }, want: want{Error, "partition default", "imapd.conf:9", "refused", "check the endpoint"}},
		"unknown CA":     {after: func(s *site) { s.set("backuppartition-default", "minio://"+secure.Endpoint+"/"+s.bucket+"/site") }, want: want{Error, "partition default", "imapd.conf:9", "not valid here", "ca=FILE"}},
		"no CA file": {after: func(s *site) {
			s.set("backuppartition-default", "minio://"+secure.Endpoint+"/"+s.bucket+"/site?ca=/nowhere.pem")
		}, want: want{Error, "partition default", "imapd.conf:9", "/nowhere.pem", "ca="}},
		"clock 5m": {after: func(s *site) { s.skewed(5 * time.Minute) }, want: want{Warning, "partition default", "site?tls=no", "differ by", "timedatectl"}},
		"clock 2h": {after: func(s *site) { s.skewed(-2 * time.Hour) }, want: want{Error, "partition default", "site?tls=no", "compact removes nothing", "timedatectl"}},
		"keys of the shell": {after: func(s *site) {
			s.facts.Source, s.facts.Shell = "process 1 (master)", []string{"AWS_PROFILE"}
			s.unset("backup_credentials_file")
			s.t.Setenv("AWS_SHARED_CREDENTIALS_FILE", s.path("keys"))
		}, want: want{Warning, "partition default", "imapd.conf:9", "this shell has AWS_PROFILE", "backup_credentials_file"}},
		"keys of master": {after: func(s *site) {
			s.facts.Source = "process 1 (master)"
			s.unset("backup_credentials_file")
			k := s.srv.Limited(s.t, s.valid, `{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::*"]},{"Effect":"Allow","Action":["s3:DeleteObject"],"Resource":["arn:aws:s3:::*/site/probe/*"]}`)
			s.t.Setenv("AWS_ACCESS_KEY_ID", k.AccessKey)
			s.t.Setenv("AWS_SECRET_ACCESS_KEY", string(k.SecretKey))
			s.t.Setenv("AWS_SESSION_TOKEN", string(k.SessionToken))
		}, want: want{Warning, "partition default", "AWS_ACCESS_KEY_ID of the environment", "this shell does not", "backup_credentials_file"}},
		"damaged repository": {after: func(s *site) { s.put("repository.json", "{") }, want: want{Error, "partition default", "site?tls=no", "repository.json", "verify"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, srv, srv.NewBucket(t))
			if c.plant != nil {
				c.plant(s)
			}
			s.limit()
			s.set("backuppartition-default", s.location().String())
			if c.after != nil {
				c.after(s)
			}
			s.prepare()
			expect(t, s.run(), c.want)
			for _, key := range s.left() {
				if key != "site/"+probe.Kept && key != "site/repository.json" {
					t.Errorf("left %s", key)
				}
			}
		})
	}
}

// left lists the objects, if there is a bucket.
func (s *site) left() []string {
	if s.bucket == "no-such-bucket" {
		return nil
	}
	return s.objects()
}

func (s *site) put(key, text string) {
	s.t.Helper()
	_, err := s.srv.Client(s.t).PutObject(s.t.Context(), s.bucket, prefix+"/"+key, bytes.NewReader([]byte(text)), int64(len(text)), minio.PutObjectOptions{})
	s.must(err)
}

// skewed puts a proxy with a wrong clock before the store.
func (s *site) skewed(by time.Duration) {
	k := s.srv.NewSkewed(s.t)
	k.By.Store(int64(by))
	l := s.location()
	l.Endpoint = k.Endpoint
	s.set("backuppartition-default", l.String())
}
