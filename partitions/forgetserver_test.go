package partitions

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
)

// A put of a contact that was running while its mail server was forgotten does not return the server to the
// index, and ForgetServer waits for its end.
func TestForgetServerDuringAPut(t *testing.T) {
	t.Parallel()
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s := &Set{index: x, contacts: newContacts(time.Now()), opt: Options{Now: time.Now}}
	s.Contact("repl [192.0.2.1]")
	done, err := s.beginPuts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.ForgetServer(ended, "repl [192.0.2.1]"); !errors.Is(err, context.Canceled) {
		t.Errorf("beside a put: %v", err)
	}
	done()
	if err := s.ForgetServer(t.Context(), "repl [192.0.2.1]"); err != nil {
		t.Fatal(err)
	}
	if err := s.contactPut("repl [192.0.2.1]", "default"); err != nil {
		t.Fatal(err)
	}
	err = x.View(func(tx *index.Txn) error {
		if all, err := servers(tx); err != nil || len(all) != 0 {
			t.Errorf("%v, %v", all, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
