package cyrbackup

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A backup is shown although another partition does not answer, with a warning.
func TestWithADeadPartition(t *testing.T) {
	w := story(t)
	dead := tooltest.New(t, "dead")
	dead.Stores[0].SetFaults(func(string, string) error { return memstore.ErrInjected }, nil)
	w.Parts = append([]repository.Config{dead.Parts[0]}, w.Parts...)
	out, err := tool(t, w, "anne", "list", "mailboxes")
	if err != nil || !strings.Contains(out, "user.anne") || !strings.Contains(out, "warning: partition dead") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = tool(t, w, "-A", "find", "invoice")
	if !errors.Is(err, cli.ErrReported) || !strings.Contains(out, "invoice 2") || !strings.Contains(out, "left out: partition dead") {
		t.Errorf("a search of all: %v: %s", err, out)
	}
	if _, err := tool(t, w, "nobody", "list", "mailboxes"); err == nil || !strings.Contains(err.Error(), "cannot determine") {
		t.Errorf("somebody whose backup may be in the partition that does not answer: %v", err)
	}
}
