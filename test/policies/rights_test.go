package policies

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/cyrusbackup/backupd/objstore"
)

// TestRights tries every right of every role on every kind of key, and compares with the table in
// docs/policies/README.md.
func TestRights(t *testing.T) {
	s := newSite(t, true, "mail/site1/")
	table := documented(t)
	for _, role := range roles {
		k := s.keys(role)
		store := s.store(k)
		for key, want := range table {
			if got := s.rights(store, s.prefix+key); got != want[role] {
				t.Errorf("%s may %s on %s, docs/policies/README.md has %s", role, got, key, want[role])
			}
		}
		for _, key := range []string{"other", "backups/user/x/log/0000000000000001.tar.zst", "probe/x"} {
			if got := s.rights(store, key); got != "-" {
				t.Errorf("%s may %s on %s, which does not belong to the partition", role, got, key)
			}
		}
		s.cannotChange(role, k)
	}
}

// documented reads the table of rights: a row for each kind of key, a column for each role.
func documented(t *testing.T) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/policies/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	rights := map[string]map[string]string{}
	var titles []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		switch {
		case cells[0] == "key":
			titles = cells
		case titles == nil || len(cells) != len(titles) || strings.HasPrefix(cells[0], "---"):
		default:
			of := map[string]string{}
			for i, title := range titles {
				of[title] = cells[i]
			}
			rights[cells[0]] = of
		}
	}
	for _, role := range roles {
		if len(rights) < 20 || rights["packs/ab/1.tar.zst"][role] == "" {
			t.Fatalf("the table of rights has no column for %s, or only %d rows", role, len(rights))
		}
	}
	return rights
}

// rights tries the operations on an object that exists: r read, w overwrite, d delete, v remove a
// version; "-" none.
func (s *site) rights(store objstore.Store, key string) (found string) {
	s.t.Helper()
	ctx, admin := s.t.Context(), s.server.Client(s.t)
	var versions []string
	for range 2 {
		info, err := admin.PutObject(ctx, s.bucket, key, bytes.NewReader([]byte("x")), 1, minio.PutObjectOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		versions = append(versions, info.VersionID)
	}
	try := func(letter string, err error) {
		s.t.Helper()
		switch {
		case err == nil:
			found += letter
		case !errors.Is(err, objstore.ErrDenied):
			s.t.Errorf("%s %s: %v", letter, key, err)
		}
	}
	o, err := store.Get(ctx, key, 0, -1)
	if err == nil {
		_ = o.Close() // of a byte
	}
	try("r", err)
	_, err = store.Put(ctx, key, bytes.NewReader([]byte("y")), objstore.PutOptions{})
	try("w", err)
	try("v", removeVersion(ctx, store, key, versions[0]))
	try("d", store.Delete(ctx, key))
	if found == "" {
		return "-"
	}
	return found
}

func removeVersion(ctx context.Context, store objstore.Store, key, id string) error {
	return store.DeleteVersion(ctx, objstore.Version{Key: key, ID: id})
}

// cannotChange tries to change the bucket.
func (s *site) cannotChange(role string, k *objstore.Credentials) {
	s.t.Helper()
	client, err := minio.New(s.server.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(k.AccessKey, string(k.SecretKey), string(k.SessionToken)), Region: "us-east-1"})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx := s.t.Context()
	for what, err := range map[string]error{
		"suspend versioning":  client.SuspendVersioning(ctx, s.bucket),
		"set lifecycle rules": client.SetBucketLifecycle(ctx, s.bucket, &lifecycle.Configuration{Rules: []lifecycle.Rule{{ID: "all", Status: "Enabled", Expiration: lifecycle.Expiration{Days: 1}}}}),
		"set the policy":      client.SetBucketPolicy(ctx, s.bucket, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::`+s.bucket+`/*"}]}`),
		"remove the bucket":   client.RemoveBucket(ctx, s.bucket),
		"make another bucket": client.MakeBucket(ctx, s.bucket+"-2", minio.MakeBucketOptions{}),
	} {
		if err == nil || minio.ToErrorResponse(err).Code != "AccessDenied" {
			s.t.Errorf("%s: %s: %v", role, what, err)
		}
	}
}
