package history

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/pack"
)

const (
	hour = time.Hour
	day  = 24 * time.Hour
	year = 365 * day
)

// stamp has the times of a commit: of the store, of the host, and when it was really made.
type stamp struct {
	store, clock, made time.Duration // after noon
}

func correct(at time.Duration) stamp { return stamp{at, at, at} }

func TestTimes(t *testing.T) {
	for name, c := range map[string]struct {
		log    []stamp
		doubts string
		now    time.Duration // of the reader; 0 = unknown
	}{
		"correct clocks":              {log: []stamp{correct(0), correct(hour), correct(300 * day)}},
		"clocks that differ by a day": {log: []stamp{{0, -day, 0}, {hour, day, hour}, {300 * day, 301 * day, 300 * day}}},
		"a host that is a month slow": {log: []stamp{correct(0), {hour, hour - 30*day, hour}, {40 * hour, 10*hour - 30*day, 40 * hour}}},
		"a host that is years ahead":  {log: []stamp{{0, 10 * year, 0}, {9 * day, 10 * year, 9 * day}}},
		"a host that starts in 1970":  {log: []stamp{{0, -56 * year, 0}, {9 * day, -56 * year, 9 * day}}},
		"an import":                   {log: []stamp{{-9 * year, 0, -9 * year}, {-year, hour, -year}, correct(day)}},
		"one answer ahead": {doubts: "2 to 4", log: []stamp{correct(0),
			{10 * year, hour, hour}, {10 * year, 5 * day, 5 * day}, {10 * year, 300 * day, 300 * day}}},
		"the first answer ahead": {doubts: "1 to 2", log: []stamp{{10 * year, 0, 0}, {10 * year, hour, hour}}},
		"host clocks that differ meanwhile": {doubts: "2 to 4", log: []stamp{correct(0),
			{10 * year, 9 * day, 9 * day}, {10 * year, 8 * day, 9 * day}, {10 * year, 10 * day, 10 * day}}},
		"a few days ahead, until time catches up": {doubts: "2 to 4", log: []stamp{correct(0), {6 * day, hour, hour}, {6 * day, 3 * day, 3 * day},
			{6 * day, 5 * day, 5 * day}, correct(6*day + hour), correct(9 * day)}},
		"a store that stays ahead": {doubts: "2 to 3", log: []stamp{correct(0), {9*day + hour, hour, hour}, {9*day + 2*hour, 2 * hour, 2 * hour}}},
		"two times":                {doubts: "2, 4", log: []stamp{correct(0), {9 * day, hour, hour}, correct(20 * day), {40 * day, 21 * day, 21 * day}}},
		"store and host ahead, as a directory on that host": {now: 30 * day, doubts: "2 to 3", log: []stamp{correct(0),
			{year, year, 0}, {year, hour, hour}}},
		"the same, without the reader's clock": {log: []stamp{correct(0), {year, year, year}, {year, hour, year}}},
	} {
		times := Times{}
		if c.now > 0 {
			times.Now = noon.Add(c.now)
		}
		for i, s := range c.log {
			h := Header{Number: uint64(i + 1), Time: noon.Add(s.store), Clock: noon.Add(s.clock)}
			if peek := times.Peek(h); !peek.Equal(noon.Add(s.made)) || !times.Next(h).Equal(peek) {
				t.Errorf("%s: commit %d was made at %v, want %v", name, i+1, peek.Sub(noon), s.made)
			}
		}
		got := times.Doubts()
		if (got == "") != (c.doubts == "") || !strings.Contains(got, " "+c.doubts+" are too far ahead") && got != "" {
			t.Errorf("%s: %q, want %q", name, got, c.doubts)
		}
	}
}

// logOf writes a log with these times. Commit n subscribes to folder n.
func logOf(t *testing.T, log []stamp, checkpoints ...int) *writer {
	w := newWriter(t)
	for i, s := range log {
		w.commitWith(func(b *Builder) {
			h := b.Header()
			h.Time, h.Clock = noon.Add(s.store), noon.Add(s.clock)
			b.Reheader(h)
		}, &SubEvent{User: "anne", Name: fmt.Sprint(i + 1), Subscribed: true})
		for _, n := range checkpoints {
			if n != i+1 {
				continue
			}
			m, err := Load(t.Context(), w.store, anne, Moment{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

// The state at a time depends on when commits were made, and not on checkpoints.
func TestLoadWithWrongTimes(t *testing.T) {
	log := []stamp{correct(0), correct(hour), {10 * year, 2 * hour, 2 * hour}, {10 * year, 5 * day, 5 * day}, {10 * year, 9 * day, 9 * day}}
	for _, checkpoints := range [][]int{nil, {2}, {3}, {4}, {5}, {1, 3, 5}} {
		w := logOf(t, log, checkpoints...)
		for _, c := range []struct {
			at   time.Duration
			want uint64
		}{{-hour, 0}, {0, 1}, {hour, 2}, {day, 3}, {6 * day, 4}, {9 * day, 5}, {11 * day, 5}, {11 * year, 5}} {
			m, err := Load(t.Context(), w.store, anne, Moment{Time: noon.Add(c.at), Now: noon.Add(12 * day)})
			if c.want == 0 {
				if !errors.Is(err, ErrBeforeFirst) {
					t.Errorf("checkpoints %v, at %v: %v, want ErrBeforeFirst", checkpoints, c.at, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.Tip().Number != c.want {
				t.Errorf("checkpoints %v, at %v: commit %d, want %d", checkpoints, c.at, m.Tip().Number, c.want)
			}
			if made := noon.Add(log[c.want-1].made); !m.Time().Equal(made) {
				t.Errorf("checkpoints %v, at %v: made at %v, want %v", checkpoints, c.at, m.Time(), made)
			}
			m.Close()
		}
	}
}

func TestMade(t *testing.T) {
	slow := []stamp{correct(0)}
	for n := range 30 { // a host that is a month slow, and a correct store
		at := time.Duration(n+1) * day
		slow = append(slow, stamp{at, at - 30*day, at})
	}
	for name, log := range map[string][]stamp{
		"one answer ahead":       {correct(0), {10 * year, hour, hour}, {10 * year, 5 * day, 5 * day}},
		"the first answer ahead": {{10 * year, 0, 0}, {10 * year, hour, hour}},
		"some days ahead":        {correct(0), {6 * day, hour, hour}, {6 * day, 2 * day, 2 * day}, correct(7 * day)},
		"a slow host":            slow[:15],
		"store and host ahead":   {correct(0), {year, year, 0}, {year, hour, hour}},
		"a long time between":    {correct(0), correct(11 * day)},
	} {
		l := &Log{Store: logOf(t, log).store, Backup: anne}
		for i, s := range log {
			for c, err := range l.Commits(t.Context(), uint64(i+1), uint64(i+1)) {
				if err != nil {
					t.Fatal(err)
				}
				at, doubt, err := l.Made(t.Context(), c.Header(), noon.Add(12*day))
				want := noon.Add(s.made)
				if name == "store and host ahead" && i == 1 {
					want = time.Time{} // unknown
				}
				if err != nil || !at.Equal(want) || (doubt != "") != (s.made != s.store) {
					t.Errorf("%s, commit %d: %v, %q, %v, want %v", name, i+1, at, doubt, err, want)
				}
			}
		}
	}
}
