package timespec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
)

func TestParse(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 24, 9, 30, 15, 500, zone) // a Tuesday
	for text, want := range map[string]string{
		"2026-11-20T14:05:00Z":      "2026-11-20T14:05:00Z",
		"2026-11-20 14:05:00+02:00": "2026-11-20T12:05:00Z",
		"2026-11-20T14:05:01.5Z":    "2026-11-20T14:05:01.5Z",
		"2026-11-20t14:05:00z":      "2026-11-20T14:05:00Z",
		"2026-11-20 14:05Z":         "2026-11-20T14:05:00Z",
		"2026-11-20 14:05 +0200":    "2026-11-20T12:05:00Z",
		"2026-11-20 14:05:00 +0200": "2026-11-20T12:05:00Z",
		"2026-11-20 14:05":          "2026-11-20T13:05:00Z",
		"2026-11-20T14:05":          "2026-11-20T13:05:00Z",
		"2026-11-20T14:05:09":       "2026-11-20T13:05:09Z",
		"  2026-11-20   14:05:09 ":  "2026-11-20T13:05:09Z",
		"2026-11-20":                "2026-11-19T23:00:00Z",
		"08:00":                     "2026-11-24T07:00:00Z",
		"today":                     "2026-11-23T23:00:00Z",
		"yesterday":                 "2026-11-22T23:00:00Z",
		"Yesterday 14:05":           "2026-11-23T13:05:00Z",
		"last Tuesday 14:05":        "2026-11-17T13:05:00Z",
		"mon 14:05":                 "2026-11-23T13:05:00Z",
		"now":                       "2026-11-24T08:30:15.0000005Z",
		"3h ago":                    "2026-11-24T05:30:15.0000005Z",
		"90 minutes ago":            "2026-11-24T07:00:15.0000005Z",
		"1 day 2h ago":              "2026-11-23T06:30:15.0000005Z",
		"2w ago":                    "2026-11-10T08:30:15.0000005Z",
		"@1764000000":               "2025-11-24T16:00:00Z",

		"5pm":                               "2026-11-24T16:00:00Z",
		"5:30 PM":                           "2026-11-24T16:30:00Z",
		"12am":                              "2026-11-23T23:00:00Z",
		"12pm":                              "2026-11-24T11:00:00Z",
		"noon":                              "2026-11-24T11:00:00Z",
		"midnight":                          "2026-11-23T23:00:00Z",
		"yesterday noon":                    "2026-11-23T11:00:00Z",
		"yesterday at 5pm":                  "2026-11-23T16:00:00Z",
		"5pm yesterday":                     "2026-11-23T16:00:00Z",
		"at 5pm on 2026-11-20":              "2026-11-20T16:00:00Z",
		"2026-11-20 2:05pm":                 "2026-11-20T13:05:00Z",
		"27 Nov 2026":                       "2026-11-26T23:00:00Z",
		"27 November 2026 14:05":            "2026-11-27T13:05:00Z",
		"Nov 27, 2026, 5pm":                 "2026-11-27T16:00:00Z",
		"Fri, 27 Nov 2026 14:05:09 +0200":   "2026-11-27T12:05:09Z",
		"1st Sept 2026":                     "2026-08-31T23:00:00Z",
		"26.11.2026":                        "2026-11-25T23:00:00Z",
		"26.11.2026 14:05":                  "2026-11-26T13:05:00Z",
		"2026/11/20":                        "2026-11-19T23:00:00Z",
		"20/11/2026":                        "2026-11-19T23:00:00Z",
		"11/20/2026":                        "2026-11-19T23:00:00Z",
		"04/04/2026":                        "2026-04-03T23:00:00Z",
		"2h":                                "2026-11-24T06:30:15.0000005Z",
		"2h 30min":                          "2026-11-24T06:00:15.0000005Z",
		"last week":                         "2026-11-17T08:30:15.0000005Z",
		"last month":                        "2026-10-24T08:30:15.0000005Z",
		"last monday":                       "2026-11-22T23:00:00Z",
		"last monday 5pm":                   "2026-11-23T16:00:00Z",
		"2026-11-20 14:05 Europe/Berlin":    "2026-11-20T13:05:00Z",
		"2026-11-20 14:05 america/new_york": "2026-11-20T19:05:00Z",
		"2026-11-20 14:05 UTC":              "2026-11-20T14:05:00Z",
		"2026-11-20 14:05 +05:30":           "2026-11-20T08:35:00Z",
		"2026-11-20 14:05 -03":              "2026-11-20T17:05:00Z",
		"2026-11-20 14:05 CET":              "2026-11-20T13:05:00Z",
		"2026-11-20 14:05 EST":              "2026-11-20T19:05:00Z",
		"2026-11-20 Asia/Tokyo":             "2026-11-19T15:00:00Z",
		"5pm UTC":                           "2026-11-24T17:00:00Z",
		"noon yesterday GMT":                "2026-11-23T12:00:00Z",
	} {
		got, err := timespec.Parse(text, now)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %s, %v; want %s", text, got.UTC().Format(time.RFC3339Nano), err, want)
		}
	}
}

// "1 day ago" is the same time of day, even if summer time began and the day had 23 hours.
func TestDaysByCalendar(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 29, 12, 0, 0, 0, berlin)
	got, err := timespec.Parse("1 day ago", now)
	if err != nil || got.Hour() != 12 || now.Sub(got.Time) != 23*time.Hour {
		t.Errorf("%s, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "soon", "2026-13-01", "2026-11-20 25:00", "3 fortnights ago", "ago", "@-1", "@99999999999999", "14", "tomorrow", "99999999h ago",
		"13pm", "0am", "24:00", "2026-11-20 24:00", "2026-02-30 10:00", "30.02.2026", "27 Nov 26", "27 Foo 2026", "14:5", "5 o'clock", "last", "last noon", "UTC", "Europe/Berlin"} {
		got, err := timespec.Parse(text, time.Now())
		if err == nil || !strings.Contains(err.Error(), "is not a point in time") {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
