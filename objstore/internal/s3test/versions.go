package s3test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
)

// OpenBucket makes a driver for a bucket of the server.
type OpenBucket func(t testing.TB, srv *miniotest.Server, bucket string) objstore.Store

// RunRetained checks what Object Lock forbids, and what a driver refuses to remove.
func RunRetained(t *testing.T, open OpenBucket) {
	srv := miniotest.Start(t)
	t.Run("Retention", func(t *testing.T) { testRetention(t, srv, open) })
	t.Run("LegalHold", func(t *testing.T) { testLegalHold(t, srv, open) })
	t.Run("Current", func(t *testing.T) { testCurrent(t, srv, open) })
	t.Run("Suspended", func(t *testing.T) { testSuspended(t, srv, open) })
}

func putText(t testing.TB, s objstore.Store, key, text string) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, bytes.NewReader([]byte(text)), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// ids returns the version ids of an object, the current one first.
func ids(t testing.TB, c *minio.Client, bucket, key string) (out []string) {
	t.Helper()
	for o := range c.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: key, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		out = append(out, o.VersionID)
	}
	return out
}

// testRetention: both modes forbid the removal of a version, and the error has the end. The
// object can be deleted, and stays hidden.
func testRetention(t *testing.T, srv *miniotest.Server, open OpenBucket) {
	bucket := srv.NewLockedBucket(t) // for a day, in governance mode
	s, c := open(t, srv, bucket), srv.Client(t)
	putText(t, s, "a", "old")
	putText(t, s, "a", "new")
	compliance, until := minio.Compliance, time.Now().Add(49*time.Hour).Truncate(time.Second)
	newest := ids(t, c, bucket, "a")[0]
	if err := c.PutObjectRetention(t.Context(), bucket, "a", minio.PutObjectRetentionOptions{
		Mode: &compliance, RetainUntilDate: &until, VersionID: newest, GovernanceBypass: true}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := objstore.EraseObject(t.Context(), s, "a")
		var retained *objstore.RetainedError
		if !errors.Is(err, objstore.ErrRetained) || !errors.As(err, &retained) || objstore.IsTemporary(err) {
			t.Fatalf("erase: %v, want ErrRetained", err)
		}
		if !retained.Until.Equal(until) || retained.LegalHold || !strings.Contains(err.Error(), until.UTC().Format(time.RFC3339)) {
			t.Errorf("erase: %v, %+v, want until %v", err, retained, until)
		}
		if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, objstore.ErrNotExist) {
			t.Errorf("the object: %v", err)
		}
		if n := len(ids(t, c, bucket, "a")); n != 3 {
			t.Errorf("%d versions and markers, want 3", n)
		}
	}
	for v, err := range s.Noncurrent(t.Context(), "a", "") {
		if err != nil {
			t.Fatal(err)
		}
		if v.Marker || v.ID == newest {
			continue
		}
		var retained *objstore.RetainedError
		err := s.DeleteVersion(t.Context(), v)
		if !errors.As(err, &retained) || time.Until(retained.Until) < 20*time.Hour || time.Until(retained.Until) > 25*time.Hour {
			t.Errorf("in governance mode: %v, want retained for a day", err)
		}
	}
}

// testLegalHold: a version with a legal hold can be erased once it is released.
func testLegalHold(t *testing.T, srv *miniotest.Server, open OpenBucket) {
	c := srv.Client(t)
	bucket := srv.NewLockedBucket(t)
	if err := c.SetBucketObjectLockConfig(t.Context(), bucket, nil, nil, nil); err != nil { // no default
		t.Fatal(err)
	}
	s := open(t, srv, bucket)
	putText(t, s, "a", "text")
	hold := func(status minio.LegalHoldStatus) {
		id := ids(t, c, bucket, "a")
		if err := c.PutObjectLegalHold(t.Context(), bucket, "a", minio.PutObjectLegalHoldOptions{Status: &status, VersionID: id[len(id)-1]}); err != nil {
			t.Fatal(err)
		}
	}
	hold(minio.LegalHoldEnabled)
	err := objstore.EraseObject(t.Context(), s, "a")
	var retained *objstore.RetainedError
	if !errors.As(err, &retained) || !retained.LegalHold || !retained.Until.IsZero() || !strings.Contains(err.Error(), "legal hold") {
		t.Errorf("erase: %v, want a legal hold", err)
	}
	hold(minio.LegalHoldDisabled)
	if err := objstore.EraseObject(t.Context(), s, "a"); err != nil {
		t.Errorf("erase: %v", err)
	}
	if left := ids(t, c, bucket, "a"); len(left) != 0 {
		t.Errorf("%d versions are left", len(left))
	}
}

// testCurrent: the current version is never removed, not even by its id.
func testCurrent(t *testing.T, srv *miniotest.Server, open OpenBucket) {
	c := srv.Client(t)
	plain, versioned := srv.NewBucket(t), srv.NewVersionedBucket(t)
	for _, bucket := range []string{plain, versioned} {
		s := open(t, srv, bucket)
		putText(t, s, "a", "text")
		id := ids(t, c, bucket, "a")
		if bucket == plain {
			id = []string{"null"}
		}
		for _, id := range id {
			err := s.DeleteVersion(t.Context(), objstore.Version{Key: "a", ID: id})
			if !errors.Is(err, objstore.ErrPrecondition) {
				t.Errorf("%s: %v, want ErrPrecondition", id, err)
			}
		}
		if err := s.DeleteVersion(t.Context(), objstore.Version{Key: "a"}); err == nil {
			t.Error("a version without an id was removed")
		}
		if _, err := s.Stat(t.Context(), "a"); err != nil {
			t.Errorf("the object: %v", err)
		}
	}
}

// testSuspended: a bucket with suspended versioning still has old versions.
func testSuspended(t *testing.T, srv *miniotest.Server, open OpenBucket) {
	c, bucket := srv.Client(t), srv.NewVersionedBucket(t)
	s := open(t, srv, bucket)
	putText(t, s, "a", "1")
	putText(t, s, "b", "1")
	if err := c.SuspendVersioning(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	putText(t, s, "a", "22")
	putText(t, s, "a", "333") // replaces the former "null" version
	if err := s.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for v, err := range s.Noncurrent(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s:%d:%v", v.Key, v.Size, v.Marker))
	}
	if text := strings.Join(got, " "); text != "a:1:false b:0:true b:1:false" && text != "a:1:false b:1:false b:0:true" {
		t.Errorf("noncurrent: %s", text)
	}
	for _, key := range []string{"a", "b"} {
		if err := objstore.EraseObject(t.Context(), s, key); err != nil {
			t.Errorf("erase: %v", err)
		}
		if left := ids(t, c, bucket, key); len(left) != 0 {
			t.Errorf("%s: %d versions are left", key, len(left))
		}
	}
}

// RunVersionsIgnored checks that a store that answers a list of versions with a list of objects
// does not support versions. That it has none would be wrong.
func RunVersionsIgnored(t *testing.T, open Open) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		_, _ = fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`+
			`<Name>bucket</Name><Prefix>key</Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>`+
			`<Contents><Key>key</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>"e"</ETag><Size>1</Size></Contents></ListBucketResult>`)
	}))
	t.Cleanup(srv.Close)
	s := open(t, srv.Listener.Addr().String(), time.Minute)
	if err := Call(t, s, "noncurrent"); !errors.Is(err, objstore.ErrUnsupported) || objstore.IsTemporary(err) {
		t.Errorf("%v, want ErrUnsupported", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Noncurrent(ctx, "key", "") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}
