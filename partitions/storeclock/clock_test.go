package storeclock

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

// dial is a host's clock and a store's, which the test sets apart.
type dial struct {
	Clock
	host time.Time
	logs bytes.Buffer
}

func newDial() *dial {
	d := &dial{host: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	d.Log = slog.New(slog.NewTextHandler(&d.logs, nil))
	d.Pause = time.Nanosecond
	return d
}

// says lets the store state times that differ from the host's clock, a second apart.
func (d *dial) says(skews ...time.Duration) {
	for _, s := range skews {
		d.host = d.host.Add(time.Second)
		d.Saw(d.host.Add(s), d.host)
	}
}

// skew is what is believed.
func (d *dial) skew() time.Duration { return d.Now(d.host).Sub(d.host) }

func (d *dial) logged(text string) int { return strings.Count(d.logs.String(), text) }

// settled is the skew after a second opinion; the store always answers with the same one.
func (d *dial) settled(skew time.Duration, newest time.Time) time.Duration {
	d.Settle(context.Background(), func(context.Context) { d.says(skew) }, newest)
	return d.skew()
}

// One answer never counts, whichever way it errs and however far.
func TestOneWrongTime(t *testing.T) {
	for _, odd := range []time.Duration{10 * time.Minute, day, 10 * 365 * day, -10 * time.Minute, -day, -10 * 365 * day} {
		for name, before := range map[string][]time.Duration{"first": nil, "second": {0}, "later": {0, 0, 0, 0}} {
			d := newDial()
			d.says(append(before, odd)...)
			d.settled(0, time.Time{})
			if got := d.skew(); len(before) > 2 && got != 0 || got > 0 && odd > Bound || got.Abs() > Bound {
				t.Errorf("%s answer off by %v: believed with %v", name, odd, got)
			}
			d.says(0, 0)
			if got := d.skew(); got != 0 {
				t.Errorf("%s answer off by %v: believed with %v after two right ones", name, odd, got)
			}
			if n := d.logged("not believed"); n != 0 && odd.Abs() <= Bound || n != 1 && odd.Abs() > Bound {
				t.Errorf("%s answer off by %v: logged %d times", name, odd, n)
			}
		}
	}
}

// A store that contradicts itself and the host is never believed, however often it does.
func TestStoreThatGoesWrong(t *testing.T) {
	d := newDial()
	d.says(0, 0, 0)
	for range 3000 {
		d.says(3 * day)
	}
	if d.skew() != 0 {
		t.Errorf("believed with %v", d.skew())
	}
	d.says(0)
	d.host = d.host.Add(patience)
	d.says(0)
	for text, want := range map[string]int{"not believed": 1 + 1, "clock of the store is wrong": 1, "believed again": 1, "this host": 1} {
		if n := d.logged(text); n != want {
			t.Errorf("%q was logged %d times, want %d\n%s", text, n, want, d.logs.String())
		}
	}
}

// A host whose clock is wrong follows the store, and says so once.
func TestHostThatIsWrong(t *testing.T) {
	for _, skew := range []time.Duration{day, -day, -40 * 365 * day} {
		d := newDial()
		if skew < -365*day {
			d.host = d.host.Add(-skew)
		}
		d.says(skew)
		if got := d.settled(skew, d.host.Add(skew-time.Hour)); got != skew {
			t.Errorf("a store that is %v off is believed with %v", skew, got)
		}
		d.says(skew, skew, skew+10*365*day, skew)
		if got := d.skew(); got != skew {
			t.Errorf("a store that is %v off is believed with %v after a wrong answer", skew, got)
		}
		d.host = d.host.Add(skew) // it is set; its monotonic clock does not jump
		for i := range d.last {
			d.last[i].here = d.last[i].here.Add(skew)
		}
		d.says(0, 0, 0)
		if d.skew() != 0 || d.logged("host and of the store differ") != 1 || d.logged("agree again") != 1 {
			t.Errorf("skew %v is believed with %v after the host was set\n%s", skew, d.skew(), d.logs.String())
		}
	}
}

// From the first answer on the store says something else than the host: the log decides.
func TestFirstContact(t *testing.T) {
	for _, c := range []struct {
		name         string
		skew, newest time.Duration // of the store and of the newest commit, against the host
		want         time.Duration
	}{
		{"no log, the store is ahead", 5 * day, -100 * 365 * day, 5 * day},
		{"no log, the store is behind", -5 * day, -100 * 365 * day, -5 * day},
		{"the host is behind the log", 5 * day, 4 * day, 5 * day},
		{"the store is behind the log", -5 * day, -day, 0},
		{"both are behind the log", 5 * day, 3650 * day, 5 * day},
		{"the store is years ahead", 3650 * day, -day, 0},
		{"the log of an idle user, a host that began in 1970", 56 * 365 * day, 54 * 365 * day, 56 * 365 * day},
	} {
		d := newDial()
		if c.skew > 50*365*day {
			d.host = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
		}
		d.says(c.skew)
		if got := d.settled(c.skew, d.host.Add(c.newest)); got != c.want {
			t.Errorf("%s: believed with %v, want %v", c.name, got, c.want)
		}
		d.says(c.skew, c.skew, c.skew)
		differ, wrong := d.logged("host and of the store differ"), d.logged("clock of the store is wrong")
		if c.want == 0 && (differ != 0 || wrong != 1) || c.want != 0 && (differ != 1 || wrong != 0) || d.logged("agree again") != 0 {
			t.Errorf("%s: the log says\n%s", c.name, d.logs.String())
		}
	}
}

// A store that does not answer, or contradicts itself, leaves the host's clock.
func TestNoSecondOpinion(t *testing.T) {
	d := newDial()
	d.says(day)
	d.Settle(t.Context(), func(context.Context) {}, time.Time{})
	if d.skew() != 0 || d.logged("clock of the store is wrong") != 0 {
		t.Errorf("without further answers: %v\n%s", d.skew(), d.logs.String())
	}
	n := time.Duration(1)
	d.Settle(t.Context(), func(context.Context) { n++; d.says(n * day) }, time.Time{})
	if d.skew() != 0 || d.logged("clock of the store is wrong") != 1 {
		t.Errorf("with answers that differ: %v\n%s", d.skew(), d.logs.String())
	}
	if d.says(0); d.skew() != 0 || d.own {
		t.Errorf("then a right one: %v", d.skew())
	}
}
