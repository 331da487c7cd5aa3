package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
)

// anne makes a repository with the backup of anne. put adds an object.
func anne(t *testing.T, s objstore.Store) (f *Found, put func(key string, v any)) {
	put = func(key string, v any) {
		b, err := json.Marshal(v)
		if err == nil {
			_, err = s.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n := UserName("anne")
	put(Key, Info{Version: Version, ID: NewID(), Capabilities: probe.Capabilities{IfAbsent: true, IfMatch: true}})
	put(BackupInfoKey(n.Path()), BackupInfo{Version: Version, ID: NewID(), Kind: n.Kind, Name: n.Full})
	f, err := FindPath(t.Context(), Config{Name: "p", Location: "memory", Store: s}, n.Path())
	if err != nil {
		t.Fatal(err)
	}
	return f, put
}

// The second look at a live lease asks for the time again: one wrong time, however many answers it
// has, does not end the lease.
func TestWrongTimeEndsNoLease(t *testing.T) {
	for name, take := range map[string]func(*Found) error{
		"lock": func(f *Found) error { _, err := f.TakeLease(t.Context(), LockOptions{Owner: "thief"}); return err },
		"upkeep": func(f *Found) error {
			_, err := BeginUpkeep(t.Context(), f, LockOptions{Owner: "thief"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			now, asked := time.Now(), 0
			ahead := 90 * time.Second
			s := memstore.New(func() time.Time { return time.Now().Add(ahead) })
			f, put := anne(t, s)
			live := LockFile{Version: lockVersion, ID: NewID(), Owner: "a live holder", Since: now, Expires: now.Add(time.Minute)}
			put(UpkeepKey(f.Path), live)
			put(LockKey(f.Path), live)
			s.SetFaults(func(op, _ string) error {
				if asked++; op == "stat" && asked > 4 {
					ahead = 0
				}
				return nil
			}, nil)
			if err := take(f); err == nil {
				t.Error("the live lease was taken")
			}
		})
	}
}

// hiding is a store whose lists omit holds.json, as they may while it is replaced.
type hiding struct{ objstore.Store }

func (h hiding) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for i, err := range h.Store.List(ctx, prefix, after) {
			if err == nil && strings.HasSuffix(i.Key, "/"+holdsName) {
				continue
			}
			if !yield(i, err) {
				return
			}
		}
	}
}

// A hold that a list omits is found before anything is removed for good.
func TestHoldThatAListOmits(t *testing.T) {
	s := hiding{memstore.New(time.Now)}
	f, put := anne(t, s)
	put(HoldsKey(f.Path), Holds{Version: holdsVersion, Holds: []Hold{{Kind: HoldPlaced, Reason: "court"}}})
	if _, err := BeginUpkeep(t.Context(), f, LockOptions{Owner: "one"}); !errors.Is(err, ErrOnHold) {
		t.Errorf("BeginUpkeep: %v", err)
	}
	if _, err := f.SetAsideToErase(t.Context(), "test", LockOptions{Owner: "two"}); !errors.Is(err, ErrOnHold) {
		t.Errorf("SetAsideToErase: %v", err)
	}
	u, err := NewLeases(f.Partition, LockOptions{Owner: "three"}).Begin(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.CheckHolds(f); !errors.Is(err, ErrOnHold) {
		t.Errorf("CheckHolds: %v", err)
	}
	if err := u.End(t.Context()); err != nil {
		t.Error(err)
	}
}
