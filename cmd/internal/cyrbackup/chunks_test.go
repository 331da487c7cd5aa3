package cyrbackup

import (
	"testing"

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
