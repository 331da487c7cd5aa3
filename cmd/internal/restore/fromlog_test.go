package restore

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A damaged checkpoint is skipped with a warning. Damaged blocks end the restore and name --from-log, which helps.
func TestFromLog(t *testing.T) {
	for _, kind := range []string{"checkpoints", "records"} {
		for name, spoil := range map[string]func(objstore.Store, string) error{
			"lost": func(s objstore.Store, key string) error { return s.Delete(t.Context(), key) },
			"damaged": func(s objstore.Store, key string) error {
				_, err := s.Put(t.Context(), key, bytes.NewReader(make([]byte, 4000)), objstore.PutOptions{})
				return err
			},
		} {
			if kind == "checkpoints" && name == "lost" {
				continue // then there is none
			}
			config, part := host(t)
			found, err := repository.FindPath(t.Context(), part, "user/anne")
			if err != nil {
				t.Fatal(err)
			}
			m, err := found.Load(t.Context(), history.Moment{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
				t.Fatal(err)
			}
			m.Close()
			for i, err := range part.Store.List(t.Context(), "backups/user/anne/"+kind+"/", "") {
				if err == nil {
					err = spoil(part.Store, i.Key)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			to := filepath.Join(t.TempDir(), "to")
			code, said := program(t, "-C", config, "--to", "eml:"+to, "anne", "-a")
			if !strings.Contains(said, "/"+kind+"/") || strings.Count(said, "\n") != 1 {
				t.Errorf("%s %s: %s", kind, name, said)
			}
			if kind == "checkpoints" { // the log has the same state
				if code != 0 || len(bodies(t, to)) != 100 {
					t.Errorf("%s %s: status %d, %d messages: %s", kind, name, code, len(bodies(t, to)), said)
				}
			} else if code != 75 || !strings.Contains(said, "--from-log") {
				t.Errorf("%s %s: status %d: %s", kind, name, code, said)
			}
			if code, said := program(t, "-C", config, "--from-log", "--to", "eml:"+to, "anne", "-a"); code != 0 || len(bodies(t, to)) != 100 {
				t.Errorf("%s %s, from the log: status %d, %d messages: %s", kind, name, code, len(bodies(t, to)), said)
			}
		}
	}
}
