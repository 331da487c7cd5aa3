package storeclock_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

const asked = "repository.json"

// storeAt returns a store with the object that Certain asks for.
func storeAt(t *testing.T, clock func() time.Time) *memstore.Store {
	t.Helper()
	s := memstore.New(clock)
	if _, err := s.Put(t.Context(), asked, strings.NewReader("{}"), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// Without agreement between the clocks of store and host, nothing has an age.
func TestCertain(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	host := func() time.Time { return now }
	for skew, good := range map[time.Duration]bool{0: true, 10 * time.Minute: true, -10 * time.Minute: true,
		20 * time.Minute: false, -20 * time.Minute: false, 24 * 365 * time.Hour: false} {
		s := storeAt(t, func() time.Time { return now.Add(skew) })
		at, err := storeclock.Certain(t.Context(), s, asked, host, time.Time{})
		if good && (err != nil || !at.Equal(now.Add(skew))) || !good && !errors.Is(err, storeclock.ErrUncertain) {
			t.Errorf("skew %v: %v, %v", skew, at, err)
		}
	}
}

// Every answer counts: the earliest is the result, and a single wrong one is enough to refuse.
func TestCertainOfEachAnswer(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	host := func() time.Time { return now }
	for n := range storeclock.Answers {
		s := faultstore.New(storeAt(t, host))
		s.Add(faultstore.Fault{Skip: n, Count: 1, Shift: -time.Minute})
		if at, err := storeclock.Certain(t.Context(), s, asked, host, time.Time{}); err != nil || !at.Equal(now.Add(-time.Minute)) {
			t.Errorf("answer %d is a minute early: %v, %v", n, at, err)
		}
		s = faultstore.New(storeAt(t, host))
		s.Add(faultstore.Fault{Skip: n, Count: 1, Shift: 100 * 24 * time.Hour})
		if at, err := storeclock.Certain(t.Context(), s, asked, host, time.Time{}); !errors.Is(err, storeclock.ErrUncertain) {
			t.Errorf("answer %d is wrong: %v, %v", n, at, err)
		}
		s = faultstore.New(storeAt(t, host))
		s.Add(faultstore.Fault{Skip: n, Count: 1, Before: func(string, string) error { return errors.New("no route") }})
		if at, err := storeclock.Certain(t.Context(), s, asked, host, time.Time{}); err == nil {
			t.Errorf("answer %d fails: %v", n, at)
		}
	}
}

// The time of an earlier run has passed, even if both clocks show an earlier one.
func TestCertainAfterAnEarlierRun(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	host := func() time.Time { return now }
	for last, good := range map[time.Duration]bool{-time.Hour: true, 10 * time.Minute: true, 16 * time.Minute: false} {
		if at, err := storeclock.Certain(t.Context(), storeAt(t, host), asked, host, now.Add(last)); good != (err == nil) || !good && !errors.Is(err, storeclock.ErrUncertain) {
			t.Errorf("last run %v from now: %v, %v", last, at, err)
		}
	}
	if at, err := storeclock.Certain(t.Context(), memstore.New(host), asked, host, time.Time{}); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("without the object: %v, %v", at, err)
	}
}
