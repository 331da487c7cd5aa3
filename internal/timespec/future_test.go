package timespec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
)

// A length of time counts from now on, by the calendar; other texts mean what Parse reads.
func TestFuture(t *testing.T) {
	now := at(t, "Europe/Berlin") // 2026-11-24 09:30
	for text, want := range map[string]string{
		"30d":                  "2026-12-24 09:30:00 +0100",
		"in 30 days":           "2026-12-24 09:30:00 +0100",
		"In  2 Weeks":          "2026-12-08 09:30:00 +0100",
		"in 6 months":          "2027-05-24 09:30:00 +0200", // the same time of day in summer
		"1y":                   "2027-11-24 09:30:00 +0100",
		"next month":           "2026-12-24 09:30:00 +0100",
		"90min":                "2026-11-24 11:00:00 +0100",
		"tomorrow":             "2026-11-25 00:00:00 +0100",
		"2027-12-31":           "2027-12-31 00:00:00 +0100",
		"31.12.2027 14:05":     "2027-12-31 14:05:00 +0100",
		"2027-12-31T14:05:00Z": "2027-12-31 15:05:00 +0100",
		"17:00":                "2026-11-24 17:00:00 +0100",
	} {
		if got, err := timespec.Future(text, now); err != nil || got.Format(timespec.Layout) != want {
			t.Errorf("%s: %s, %v; want %s", text, got.Format(timespec.Layout), err, want)
		}
	}
	for text, want := range map[string]string{
		"yesterday":  `which is not in the future; write 30d, "in 6 months"`,
		"2026-11-24": "is 2026-11-24 00:00:00 +0100, which is not in the future",
		"3 days ago": "which is not in the future",
		"0d":         "which is not in the future",
		"soon":       `is not a point in time; write 30d, "in 6 months", tomorrow, 2027-12-31`,
		"":           "is not a point in time",
		"03/04/2027": "ambiguous",
		"999999y":    "is not a point in time", "in 99999999 days": "is not a point in time",
	} {
		if got, err := timespec.Future(text, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want %s", text, got.Format(timespec.Layout), err, want)
		}
	}
}

func TestLength(t *testing.T) {
	for text, want := range map[string]time.Duration{"1ns": 1, "30s": 30 * time.Second, "4h": 4 * time.Hour, "1h30m": 90 * time.Minute,
		"1d": 24 * time.Hour, "1d12h": 36 * time.Hour, "2 weeks": 14 * 24 * time.Hour, "0": 0} {
		if got, err := timespec.Length(text); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "4", "-4h", "1 month", "4x", "tomorrow"} {
		if got, err := timespec.Length(text); err == nil || !strings.Contains(err.Error(), "write 90s, 30m, 4h") {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
