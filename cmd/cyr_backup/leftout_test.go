package main

import (
	"strings"
	"testing"

	"backupd/cmd/internal/tooltest"
	"backupd/objstore/memstore"
	"backupd/partitions"
)

// A backup is shown though another partition does not answer; a warning says what that means.
func TestBesideADeadPartition(t *testing.T) {
	w := story(t)
	dead := tooltest.New(t, "dead")
	dead.Stores[0].SetFaults(func(string, string) error { return memstore.ErrInjected }, nil)
	w.Parts = append([]partitions.Config{dead.Parts[0]}, w.Parts...)
	out, err := tool(t, w, "anne", "list", "mailboxes")
	if err != nil || !strings.Contains(out, "user.anne") || !strings.Contains(out, "warning: partition dead") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := tool(t, w, "nobody", "list", "mailboxes"); err == nil || !strings.Contains(err.Error(), "cannot tell") {
		t.Errorf("somebody whose backup may be in the partition that does not answer: %v", err)
	}
}
