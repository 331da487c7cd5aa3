package restore

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// What an unfinished export has is restored.
func TestRestoreFromAnUnfinishedCopy(t *testing.T) {
	config, part := host(t)
	if _, err := part.Store.Put(t.Context(), history.CopyingKey("user/anne", 99), strings.NewReader(history.CopyingBody), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "to")
	code, said := program(t, "-C", config, "--to", "eml:"+to, "anne", "-a")
	if code != 75 || len(bodies(t, to)) == 0 || !strings.Contains(said, "is not completely copied") || strings.Contains(said, "verify") {
		t.Errorf("status %d, %d messages: %s", code, len(bodies(t, to)), said)
	}
}

// Readable commits are restored, and the unreadable one is named.
func TestRestoreOverALostCommit(t *testing.T) {
	config, part := host(t)
	put := []byte("damaged")
	key := history.LogKey("user/anne", 2)
	if _, err := part.Store.Put(t.Context(), key, bytes.NewReader(put), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "to")
	code, said := program(t, "-C", config, "--to", "eml:"+to, "anne", "-a")
	if code != 75 || len(bodies(t, to)) != 100 || !strings.Contains(said, "commit 2 (damaged)") || !strings.Contains(said, "verify --repair anne") {
		t.Errorf("status %d, %d messages: %s", code, len(bodies(t, to)), said)
	}
}
