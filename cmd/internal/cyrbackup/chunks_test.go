package cyrbackup

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// The format allows a line without records.
func TestDescribeNoRecords(t *testing.T) {
	e, err := history.ParseEvent([]byte(`{"event":"records","uniqueid":"abc","records":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(e); got != "no records of abc" {
		t.Errorf("%q", got)
	}
}

// The log shows events of the whole backup as text.
func TestItemText(t *testing.T) {
	for want, e := range map[string]history.Event{
		"the account anne was deleted":                   &history.UnuserEvent{User: "anne"},
		"retention removed the history up to commit 24":  &history.RetainedEvent{From: 1, To: 24},
		"retention removed content deleted before 2026-": &history.PruneEvent{Before: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)},
		"the log ends: moved":                            &history.SealedEvent{Reason: "moved", To: "x"},
	} {
		if got := itemText(e); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
