package erasure_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// In a versioned bucket of a real server no object, no former version and no delete marker of the
// backup is left.
func TestVersionedBucket(t *testing.T) {
	if testing.Short() {
		t.Skip("needs MinIO")
	}
	srv := miniotest.Start(t)
	s, err := miniostore.Open(srv.Location(srv.NewVersionedBucket(t)), miniostore.Options{Credentials: srv.Credentials(), PageSize: 7})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.content()
	for range 2 { // so that there are former versions
		for _, key := range w.mem.Keys("") {
			if _, err := s.Put(t.Context(), key, bytes.NewReader(w.mem.Bytes(key)), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	part := repository.Config{Name: "p", Location: "minio", Store: s}
	look, err := erasure.Look(t.Context(), []repository.Config{part}, anneName, time.Now)
	if err == nil {
		_, err = erasure.Erase(t.Context(), look, erasure.Options{By: "test", Reason: "test", Lock: repository.LockOptions{Owner: "test", Wait: true}})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{repository.BackupPrefix(anne), "set-aside/"} {
		for info, err := range s.List(t.Context(), prefix, "") {
			t.Errorf("%s is left, %v", info.Key, err)
		}
		for v, err := range s.Noncurrent(t.Context(), prefix, "") {
			if !strings.HasSuffix(v.Key, "/lock.json") && !strings.HasSuffix(v.Key, "/upkeep.json") || err != nil {
				t.Errorf("a version of %s is left, %v", v.Key, err)
			}
		}
	}
	n := 0
	for v, err := range s.Noncurrent(t.Context(), "backups/user/bert/", "") {
		if n++; err != nil {
			t.Errorf("%s: %v", v.Key, err)
		}
	}
	if n == 0 {
		t.Error("former versions of another backup are gone")
	}
}
