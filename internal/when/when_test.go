package when_test

import (
	"strings"
	"testing"
	"time"

	"backupd/internal/when"
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
	} {
		got, err := when.Parse(text, now)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %s, %v; want %s", text, got.UTC().Format(time.RFC3339Nano), err, want)
		}
	}
}

// A day has 23 hours when summer time begins: "1 day ago" is the same time of day.
func TestDaysByTheCalendar(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 29, 12, 0, 0, 0, berlin)
	got, err := when.Parse("1 day ago", now)
	if err != nil || got.Hour() != 12 || now.Sub(got) != 23*time.Hour {
		t.Errorf("%s, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "soon", "2026-13-01", "2026-11-20 25:00", "3 fortnights ago", "ago", "@-1", "@99999999999999", "14", "3h", "tomorrow", "99999999h ago"} {
		got, err := when.Parse(text, time.Now())
		if err == nil || !strings.Contains(err.Error(), "is not a point in time") {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
