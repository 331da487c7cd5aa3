package s3test

import (
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
)

// OpenInspector makes a driver for a bucket of the server, with keys.
type OpenInspector func(t testing.TB, srv *miniotest.Server, bucket string, keys *objstore.Credentials) objstore.Inspector

// RunSettings checks that a driver reports the settings of a bucket, and the rights of its keys.
func RunSettings(t *testing.T, open OpenInspector) {
	srv := miniotest.Start(t)
	plain, locked := srv.NewBucket(t), srv.NewLockedBucket(t)
	rules := lifecycle.NewConfiguration()
	rules.Rules = []lifecycle.Rule{
		{ID: "all", Status: "Enabled", Expiration: lifecycle.Expiration{Days: 30}, RuleFilter: lifecycle.Filter{Prefix: "site/"}},
		{ID: "off", Status: "Disabled", Expiration: lifecycle.Expiration{Days: 1}},
		{ID: "old", Status: "Enabled", NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 9}},
		{ID: "tag", Status: "Enabled", Expiration: lifecycle.Expiration{Days: 1}, RuleFilter: lifecycle.Filter{Tag: lifecycle.Tag{Key: "a", Value: "b"}}},
	}
	if err := srv.Client(t).SetBucketLifecycle(t.Context(), plain, rules); err != nil {
		t.Fatal(err)
	}
	got := open(t, srv, plain, srv.Credentials()).Settings(t.Context())
	if got.Versioning != objstore.Unversioned || got.VersioningErr != nil || got.Locked || got.LockErr != nil || got.RulesErr != nil || len(got.Rules) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []objstore.LifecycleRule{{ID: "all", Prefix: "site/", Expires: true}, {ID: "old", EndsOld: true}, {ID: "tag", Expires: true, Tagged: true}} {
		if got.Rules[i] != want {
			t.Errorf("rule %+v, want %+v", got.Rules[i], want)
		}
	}
	got = open(t, srv, locked, srv.Credentials()).Settings(t.Context())
	if got.Versioning != objstore.Versioned || !got.Locked || got.Retention != "GOVERNANCE 1 DAYS" || got.RulesErr != nil || len(got.Rules) > 0 {
		t.Errorf("%+v", got)
	}
	limited := srv.Limited(t, 2*time.Hour, `{"Effect":"Allow","Action":["s3:PutObject"],"Resource":["arn:aws:s3:::`+plain+`/*"]}`)
	for _, versioned := range []bool{false, true} {
		for keys, want := range map[*objstore.Credentials]bool{srv.Credentials(): true, limited: false} {
			if may, err := open(t, srv, plain, keys).MayDelete(t.Context(), "none", versioned); may != want || err != nil {
				t.Errorf("may delete: %v, %v, want %v", may, err, want)
			}
		}
	}
	few := open(t, srv, plain, limited)
	if got := few.Settings(t.Context()); got.VersioningErr == nil || got.LockErr == nil || got.RulesErr == nil {
		t.Errorf("without rights: %+v", got)
	}
	if k, err := few.Keys(t.Context()); err != nil || !k.Session || k.Renewed || time.Until(k.Expires).Round(time.Hour) != 2*time.Hour {
		t.Errorf("%+v, %v", k, err)
	}
}
