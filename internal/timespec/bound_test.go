package timespec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
)

func TestPast(t *testing.T) {
	now := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	if got, err := timespec.Past("02:00", now); err != nil || got.Hour() != 2 {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := timespec.Past("now", now); err != nil {
		t.Error(err)
	}
	_, err := timespec.Past("23:00", now)
	if err == nil || !strings.Contains(err.Error(), `"23:00" is 2026-11-24 23:00:00 +0000, which is in the future`) {
		t.Error(err)
	}
}

func TestThrough(t *testing.T) {
	whole := time.Date(2026, 11, 24, 3, 0, 7, 0, time.UTC)
	if got := timespec.Through(whole); got != whole.Add(999_999_999) {
		t.Error(got)
	}
	if exact := whole.Add(5); timespec.Through(exact) != exact {
		t.Error("a moment with a fraction was changed")
	}
}
