package ctlbackups

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions"
)

// An earlier measurement is used if it has what the output needs: older programs measured less, and
// stat without a table does not look for the first moment.
func TestEarlierMeasurement(t *testing.T) {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	whole := partitions.Measured{Bytes: 7, At: now.Add(-time.Hour), Compressed: 9, Steady: true, Log: 5, Checkpoints: 2, First: now.AddDate(0, -1, 0)}
	for name, x := range map[string]struct {
		change func(*partitions.Measured)
		reach  bool
		want   bool
	}{
		"whole":                             {func(*partitions.Measured) {}, true, true},
		"of an older program":               {func(m *partitions.Measured) { m.Log, m.First = 0, time.Time{} }, false, false},
		"without the first moment":          {func(m *partitions.Measured) { m.First = time.Time{} }, true, false},
		"without the first moment, no need": {func(m *partitions.Measured) { m.First = time.Time{} }, false, true},
		"of another log":                    {func(m *partitions.Measured) { m.Bytes++ }, true, false},
	} {
		m := whole
		x.change(&m)
		s := &measuring{reach: x.reach}
		got, ok := s.earlier(&command{now: now}, inList{known: &partitions.Known{Bytes: 7, Measured: &m}})
		if ok != x.want || ok && (got.Bodies() != 2 || got.Log != 5 || !got.at.Equal(m.At)) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}
