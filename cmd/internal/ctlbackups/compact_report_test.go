package ctlbackups

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A full directory for temporary files has one line, however many backups need it. All of them count as
// failed, and other failures have their own lines.
func TestOneLineAboutTemporaryFiles(t *testing.T) {
	c := &command{ctx: t.Context(), mode: modeAll, dryRun: true}
	k := &compaction{c: c, record: c.beginRun(repository.RunCompact)}
	lines := 0
	for i, err := range []error{history.ErrTemporaryFile, history.ErrTemporaryFile, errors.New("another"), history.ErrTemporaryFile} {
		f := &repository.Found{Path: fmt.Sprint("user/u", i), Info: repository.BackupInfo{Kind: repository.KindUser, Name: fmt.Sprint("u", i)}}
		got := k.result(f, nil, fmt.Errorf("retention: %w", err))
		if got == nil {
			t.Errorf("%d: no failure", i)
		}
		if !errors.Is(got, cli.ErrReported) {
			lines++
		}
	}
	if lines != 2 || k.failures != 4 {
		t.Errorf("%d lines, %d failures", lines, k.failures)
	}
}
