package awsstore_test

import (
	"testing"

	"backupd/objstore"
	"backupd/objstore/awsstore"
	"backupd/objstore/miniotest"
	"backupd/objstore/objstoretest"
)

func open(t testing.TB, loc objstore.Location, o awsstore.Options) *awsstore.Store {
	t.Helper()
	s, err := awsstore.Open(t.Context(), loc, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	srv := miniotest.Start(t)
	objstoretest.Run(t, func(t testing.TB) objstore.Store {
		return open(t, srv.S3Location(srv.NewBucket(t)), awsstore.Options{Credentials: srv.Credentials()})
	})
}

// TestConformanceTLS takes the other ways: a CA of one's own, Content-MD5, small pages.
func TestConformanceTLS(t *testing.T) {
	srv := miniotest.StartTLS(t)
	objstoretest.Run(t, func(t testing.TB) objstore.Store {
		loc := srv.S3Location(srv.NewBucket(t))
		loc.ContentMD5 = true
		return open(t, loc, awsstore.Options{Credentials: srv.Credentials(), PageSize: 90})
	})
}
