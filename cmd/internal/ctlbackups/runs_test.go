package ctlbackups

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Runs over all backups are recorded in the bucket, with their result; others are not.
func TestRunsAreRecorded(t *testing.T) {
	w := two(t)
	store := w.Parts[0].Store
	for _, argv := range [][]string{{"verify", "bob"}, {"compact", "bob"}, {"compact", "-n", "-A"}} {
		if _, err := tool(t, w, argv...); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range []string{repository.RunVerify, repository.RunQuick, repository.RunCompact} {
		if r, err := repository.LastRun(t.Context(), store, command); !errors.Is(err, objstore.ErrNotExist) {
			t.Errorf("%s: %+v, %v", command, r, err)
		}
	}
	run := func(command, result string, failed int, argv ...string) {
		t.Helper()
		if _, err := tool(t, w, argv...); err != nil && !errors.Is(err, cli.ErrReported) {
			t.Fatal(err)
		}
		r, err := repository.LastRun(t.Context(), store, command)
		if err != nil || r.Result != result || r.Backups != 2 || r.Failed != failed || r.Host == "" || !r.Ended.Equal(w.Now) {
			t.Errorf("%v: %+v, %v; want %s, %d failed", argv, r, err, result, failed)
		}
	}
	run(repository.RunVerify, repository.RunOK, 0, "verify", "-A")
	run(repository.RunQuick, repository.RunOK, 0, "verify", "-q", "-A")
	run(repository.RunCompact, repository.RunOK, 0, "compact", "-A")
	for key := range w.Keys("backups/user/bob/log/") {
		w.Damage(key)
	}
	run(repository.RunVerify, repository.RunFailed, 1, "verify", "-A")
	run(repository.RunCompact, repository.RunFailed, 1, "compact", "-A")
}

// A backup that cannot even be opened counts as failed.
func TestRunsCountUnreadableBackups(t *testing.T) {
	w := two(t)
	w.Stores[0].Lose(repository.BackupInfoKey("user/bob"))
	for command, argv := range map[string][]string{
		repository.RunVerify: {"verify", "-A"}, repository.RunPart: {"verify", "--read", "100%"},
		repository.RunCompact: {"compact", "-A"}, repository.RunDrill: {"drill", "-A", "--scratch", t.TempDir()},
	} {
		if out, err := tool(t, w, argv...); !errors.Is(err, cli.ErrReported) {
			t.Errorf("%v: %v\n%s", argv, err, out)
		}
		if r, err := repository.LastRun(t.Context(), w.Parts[0].Store, command); err != nil || r.Result != repository.RunFailed || r.Failed != 1 || r.Backups != 2 {
			t.Errorf("%v: %+v, %v", argv, r, err)
		}
	}
}
