package timespec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/internal/timespec"
)

func at(t *testing.T, zone string) time.Time {
	t.Helper()
	l, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return time.Date(2026, 11, 24, 9, 30, 0, 0, l)
}

// Clock changes: in Berlin on 2026-03-29 and 2026-10-25, and on 2026-09-06 in Santiago, where
// midnight does not exist.
func TestClockChanges(t *testing.T) {
	for _, tt := range []struct {
		zone, text, want string
		note             []string
	}{
		{"Europe/Berlin", "2026-10-25 02:30", "2026-10-25 02:30:00 +0200",
			[]string{"showed 2026-10-25 02:30:00 twice", "using 2026-10-25 02:30:00 +0200", `"2026-10-25 02:30:00 +0100" for the other`}},
		{"Europe/Berlin", "25 Oct 2026 2:30am", "2026-10-25 02:30:00 +0200", []string{"twice"}},
		{"Europe/Berlin", "2026-10-25 02:30 +0100", "2026-10-25 02:30:00 +0100", nil},
		{"Europe/Berlin", "2026-10-25 02:30 CEST", "2026-10-25 02:30:00 +0200", nil},
		{"Europe/Berlin", "2026-10-25 02:30 CET", "2026-10-25 02:30:00 +0100", nil},
		{"Europe/Berlin", "2026-10-25 01:59:59", "2026-10-25 01:59:59 +0200", nil},
		{"Europe/Berlin", "2026-10-25 03:00", "2026-10-25 03:00:00 +0100", nil},
		{"Europe/Berlin", "2026-10-25", "2026-10-25 00:00:00 +0200", nil},
		{"Europe/Berlin", "2026-03-29 02:30", "2026-03-29 03:00:00 +0200",
			[]string{"never showed 2026-03-29 02:30:00", "using 2026-03-29 03:00:00 +0200"}},
		{"Europe/Berlin", "2026-03-29 02:00", "2026-03-29 03:00:00 +0200", []string{"never showed"}},
		{"Europe/Berlin", "2026-03-29 03:00", "2026-03-29 03:00:00 +0200", nil},
		{"UTC", "2026-10-25 02:30 Europe/Berlin", "2026-10-25 00:30:00 +0000", []string{"Europe/Berlin", "twice", `"2026-10-25 02:30:00 +0100"`}},
		{"America/Santiago", "2026-09-06", "2026-09-06 01:00:00 -0300", nil},
		{"America/Santiago", "2026-09-06 00:30", "2026-09-06 01:00:00 -0300", []string{"never showed"}},
		{"America/Santiago", "2026-09-05", "2026-09-05 00:00:00 -0400", nil},
		{"America/Havana", "2026-11-01", "2026-11-01 00:00:00 -0400", nil},
		{"Pacific/Apia", "2011-12-30", "2011-12-31 00:00:00 +1400", nil}, // a skipped day
		{"UTC", "2026-10-25 02:30", "2026-10-25 02:30:00 +0000", nil},
	} {
		got, err := timespec.Parse(tt.text, at(t, tt.zone))
		if err != nil || got.Format(timespec.Layout) != tt.want || (got.Note == "") != (tt.note == nil) {
			t.Errorf("%s in %s: %s, %q, %v; want %s", tt.text, tt.zone, got.Format(timespec.Layout), got.Note, err, tt.want)
		}
		for _, part := range tt.note {
			if !strings.Contains(got.Note, part) {
				t.Errorf("%s in %s: %q, want %s", tt.text, tt.zone, got.Note, part)
			}
		}
	}
}

// "1 day ago" can fall in an hour that occurs twice, "last month" on a day that does not exist.
func TestAgesByCalendar(t *testing.T) {
	berlin := at(t, "Europe/Berlin").Location()
	got, err := timespec.Parse("1 day ago", time.Date(2026, 10, 26, 2, 30, 0, 0, berlin))
	if err != nil || got.Note == "" || got.Format(timespec.Layout) != "2026-10-25 02:30:00 +0200" {
		t.Error(got.Format(timespec.Layout), got.Note, err)
	}
	got, err = timespec.Parse("last month", time.Date(2026, 3, 31, 9, 0, 0, 0, berlin))
	if err != nil || got.Format(timespec.Layout) != "2026-02-28 09:00:00 +0100" {
		t.Error(got.Format(timespec.Layout), err)
	}
}

func TestParseListsChoices(t *testing.T) {
	now := at(t, "UTC")
	for text, want := range map[string][]string{
		"03/04/2026":                {"ambiguous", "2026-04-03 for 3 April", "2026-03-04 for 4 March"},
		"3-4-2026 14:05":            {"ambiguous", "2026-04-03", "2026-03-04"},
		"2026-11-20 midnight":       {"ambiguous", "00:00"},
		"2026-11-20 14:05 IST":      {"Asia/Kolkata", "Asia/Jerusalem", "Europe/Dublin", "offset"},
		"2026-11-20 14:05 BST":      {"Europe/London", "Asia/Dhaka"},
		"2026-07-20 14:05 CET":      {"Europe/Berlin has CEST, not CET"},
		"2026-07-20 14:05 EST":      {"America/New_York has EDT"},
		"2026-03-29 02:30 CET":      {"skipped"},
		"2026-11-20 14:05 Mars/One": {"unknown zone"},
		"Mon, 27 Nov 2026":          {"2026-11-27 is a Friday"},
	} {
		got, err := timespec.Parse(text, now)
		if err == nil {
			t.Errorf("%s: %s", text, got.Format(timespec.Layout))
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want %s", text, err, part)
			}
		}
	}
}

// An abbreviation of the host's own zone means that zone, even if others use it too.
func TestAbbreviationOfHost(t *testing.T) {
	got, err := timespec.Parse("2026-11-20 14:05 IST", at(t, "Asia/Kolkata"))
	if err != nil || got.Format(timespec.Layout) != "2026-11-20 14:05:00 +0530" {
		t.Error(got.Format(timespec.Layout), err)
	}
}

// The clock shows each parsed civil time at that instant, or there is a note. Output of the tools is
// parsed as the same second.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"2026-10-25 02:30", "5pm yesterday", "27 Nov 2026", "last monday 5pm Europe/Berlin", "1 month 2h ago", "03/04/2026",
		"@1764000000", "2026-11-20T14:05:00.5+01:00", "26.11.2026 noon CET", "99999 years", "0001-01-01", "9999-12-31 23:59:59 -1200"} {
		f.Add(s)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 11, 24, 9, 30, 15, 0, berlin)
	f.Fuzz(func(t *testing.T, s string) {
		defer fuzztest.Limit(t, 2<<20+4<<10*int64(len(s)))()
		m, err := timespec.Parse(s, now)
		if err != nil {
			if !m.IsZero() {
				t.Errorf("%q: %s, %v", s, m, err)
			}
			return
		}
		again, err := timespec.Parse(m.Format(timespec.Layout), now)
		if _, offset := m.Zone(); err != nil && offset%60 == 0 || err == nil && offset%60 == 0 && again.Unix() != m.Unix() {
			t.Errorf("%q: %s is parsed as %s, %v", s, m.Format(timespec.Layout), again, err)
		}
	})
}
