package miniostore_test

import (
	"testing"

	"backupd/objstore"
	"backupd/objstore/miniostore"
	"backupd/objstore/miniotest"
	"backupd/objstore/objstoretest"
)

func open(t testing.TB, loc objstore.Location, o miniostore.Options) *miniostore.Store {
	t.Helper()
	s, err := miniostore.Open(loc, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	srv := miniotest.Start(t)
	objstoretest.Run(t, func(t testing.TB) objstore.Store {
		return open(t, srv.Location(srv.NewBucket(t)), miniostore.Options{Credentials: srv.Credentials()})
	})
}

// TestConformanceTLS takes the other ways: a CA of one's own, unsigned payload,
// Content-MD5, small pages.
func TestConformanceTLS(t *testing.T) {
	srv := miniotest.StartTLS(t)
	objstoretest.Run(t, func(t testing.TB) objstore.Store {
		loc := srv.Location(srv.NewBucket(t))
		loc.ContentMD5 = true
		return open(t, loc, miniostore.Options{Credentials: srv.Credentials(), PageSize: 90})
	})
}
