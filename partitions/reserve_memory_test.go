package partitions

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The lookups of RESERVE wait for memory like everything else that a connection needs (design.md,
// promise 11).
func TestReserveWaitsForMemory(t *testing.T) {
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := Open(Options{
		Index: x, Host: "test", Software: "test",
		Partitions: []repository.Config{{Name: "default", Location: "test", Store: memstore.New(time.Now)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(set.Close(), x.Close()); err != nil {
			t.Error(err)
		}
	}()
	stage := set.NewStage()
	defer stage.Drop()
	guids := make([]cyrus.GUID, 2*lookupsAtOnce)
	all := set.opt.workingMemory(8)
	if !set.working.TryAcquire(all - lookupsAtOnce*lookupMemory + 1) {
		t.Fatal("the memory is in use")
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := stage.Lacking(ctx, nil, true, guids); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without memory: %v", err)
	}
	set.working.Release(1)
	if missing, err := stage.Lacking(t.Context(), nil, true, guids); err != nil || len(missing) != len(guids) {
		t.Errorf("with memory: %d missing, %v", len(missing), err)
	}
	if !set.working.TryAcquire(lookupsAtOnce * lookupMemory) {
		t.Error("RESERVE has not given its memory back")
	}
}
