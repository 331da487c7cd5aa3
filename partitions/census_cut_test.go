package partitions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// censusOf returns a set whose index has a census of four backups.
func censusOf(t *testing.T, store *faultstore.Store, now *time.Time) *Set {
	t.Helper()
	x, err := index.Open(filepath.Join(t.TempDir(), "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{
		Index: x, Host: "host", Software: "test", Now: func() time.Time { return *now }, OutageWait: time.Second, PatientWait: time.Second,
		Partitions: []repository.Config{{Name: "default", Location: "memory", Store: store}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), x.Close()); err != nil {
			t.Error(err)
		}
	})
	for i := range 4 {
		if _, err := s.parts[0].createInfo(t.Context(), repository.UserName(fmt.Sprintf("anne%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.census(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// summaries returns how many backups the index knows, and how many of them it could not read.
func (s *Set) summaries(t *testing.T) (known, unreadable int) {
	t.Helper()
	err := s.index.View(func(txn *index.Txn) error {
		for kv, err := range txn.Scan(index.SummaryPrefix("default"), nil) {
			if err != nil {
				return err
			}
			var c counted
			if err := json.Unmarshal(kv.Value, &c); err != nil {
				return err
			}
			known++
			if c.Unreadable {
				unreadable++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return known, unreadable
}

// A census that its process interrupts records nothing, wherever that happens: neither that a backup
// is unreadable because the answer was cut, nor that backups it has not reached do not exist, nor that it
// is complete.
func TestInterruptedCensus(t *testing.T) {
	for _, cut := range []bool{false, true} { // the bytes of the last answer
		t.Run(fmt.Sprintf("cut %v", cut), func(t *testing.T) {
			t.Parallel()
			now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
			store := faultstore.New(memstore.New(func() time.Time { return now }))
			s := censusOf(t, store, &now)
			first := now
			now = now.Add(time.Hour)
			for at := 0; ; at++ {
				ctx, cancel := context.WithCancel(t.Context())
				var struck atomic.Bool
				store.Add(faultstore.Fault{Skip: at, Count: 1,
					Call: func(string, string) {
						struck.Store(true)
						if !cut {
							cancel()
						}
					},
					Garble: func(_ int64, b []byte) []byte {
						cancel()
						return make([]byte, len(b))
					},
				})
				err := s.census(ctx)
				interrupted := ctx.Err() != nil
				cancel()
				store.Clear()
				if !struck.Load() {
					if err != nil || interrupted {
						t.Errorf("the whole census: %v", err)
					}
					if at < 5 {
						t.Errorf("a census had %d requests", at)
					}
					return
				}
				if !interrupted {
					first, now = now, now.Add(time.Hour)
					continue // the answer had no body
				}
				counted, cerr := s.Counted()
				known, unreadable := s.summaries(t)
				if err == nil || cerr != nil || !counted.Equal(first) || known != 4 || unreadable > 0 {
					t.Fatalf("interrupted at request %d: %v; counted at %v, %v, %d backups, %d of them unreadable", at, err, counted, cerr, known, unreadable)
				}
			}
		})
	}
}
