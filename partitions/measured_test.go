package partitions

import (
	"testing"
	"time"
)

// A measurement is valid as long as the backup and the retention are the same, and for an hour if
// retention may remove something.
func TestMeasuredIsValid(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	known := Known{Bytes: 5000, Changed: at.Add(-time.Hour)}
	for what, c := range map[string]struct {
		change func(k *Known, m *Measured)
		age    time.Duration
		want   bool
	}{
		"unchanged":           {func(*Known, *Measured) {}, 6 * 24 * time.Hour, true},
		"old":                 {func(*Known, *Measured) {}, 8 * 24 * time.Hour, false},
		"from the future":     {func(*Known, *Measured) {}, -time.Second, false},
		"deleted mail":        {func(_ *Known, m *Measured) { m.Steady = false }, time.Minute, true},
		"deleted mail, later": {func(_ *Known, m *Measured) { m.Steady = false }, 2 * time.Hour, false},
		"a checkpoint":        {func(k *Known, _ *Measured) { k.Bytes++ }, 0, false},
		"unknown":             {func(k *Known, m *Measured) { k.Bytes, m.Bytes = 0, 0 }, 0, false},
		"a change":            {func(k *Known, _ *Measured) { k.Changed = at }, 0, false},
		"other retention":     {func(_ *Known, m *Measured) { m.Retention = 0 }, 0, false},
	} {
		k := known
		m := Measured{Bytes: k.Bytes, Changed: k.Changed, At: at, Retention: time.Hour, Steady: true}
		c.change(&k, &m)
		if got := m.Valid(&k, time.Hour, at.Add(c.age)); got != c.want {
			t.Errorf("%s: valid is %v", what, got)
		}
	}
	if (*Measured)(nil).Valid(&known, 0, at) {
		t.Error("nothing measured is valid")
	}
}
