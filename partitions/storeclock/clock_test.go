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

// clocks are a host's clock and a Clock for a store whose time differs from it.
type clocks struct {
	Clock
	host time.Time
	logs bytes.Buffer
}

func newClocks() *clocks {
	d := &clocks{host: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	d.Log = slog.New(slog.NewTextHandler(&d.logs, nil))
	d.Pause = time.Nanosecond
	return d
}

// answer has the store report times that differ from the host's clock, a second apart.
func (d *clocks) answer(skews ...time.Duration) {
	for _, s := range skews {
		d.host = d.host.Add(time.Second)
		d.Observe(d.host.Add(s), d.host)
	}
}

// skew is the estimated difference between the store's clock and the host's.
func (d *clocks) skew() time.Duration { return d.Now(d.host).Sub(d.host) }

func (d *clocks) logged(text string) int { return strings.Count(d.logs.String(), text) }

// settled is the skew after Settle, with a store whose clock is off by skew.
func (d *clocks) settled(skew time.Duration, newest time.Time) time.Duration {
	d.Settle(context.Background(), func(context.Context) { d.answer(skew) }, newest)
	return d.skew()
}

// One answer is never enough, however wrong it is and in either direction.
func TestOneWrongTime(t *testing.T) {
	for _, odd := range []time.Duration{10 * time.Minute, day, 10 * 365 * day, -10 * time.Minute, -day, -10 * 365 * day} {
		for name, before := range map[string][]time.Duration{"first": nil, "second": {0}, "later": {0, 0, 0, 0}} {
			d := newClocks()
			d.answer(append(before, odd)...)
			d.settled(0, time.Time{})
			if got := d.skew(); len(before) > 2 && got != 0 || got > 0 && odd > Bound || got.Abs() > Bound {
				t.Errorf("%s answer off by %v: skew is %v", name, odd, got)
			}
			d.answer(0, 0)
			if got := d.skew(); got != 0 {
				t.Errorf("%s answer off by %v: skew is %v after two right ones", name, odd, got)
			}
			if n := d.logged("time is ignored\""); n != 0 && odd.Abs() <= Bound || n != 1 && odd.Abs() > Bound {
				t.Errorf("%s answer off by %v: logged %d times", name, odd, n)
			}
		}
	}
}

// A store that contradicts itself and the host is ignored, however often it does.
func TestStoreClockGoesWrong(t *testing.T) {
	d := newClocks()
	d.answer(0, 0, 0)
	for range 3000 {
		d.answer(3 * day)
	}
	if d.skew() != 0 {
		t.Errorf("skew is %v, want 0", d.skew())
	}
	d.answer(0)
	d.host = d.host.Add(overturnAfter)
	d.answer(0)
	for text, want := range map[string]int{"time is ignored": 1 + 1, "clock of the store is wrong": 1, "accepted again": 1, "this host": 1} {
		if n := d.logged(text); n != want {
			t.Errorf("%q was logged %d times, want %d\n%s", text, n, want, d.logs.String())
		}
	}
}

// A host whose clock is wrong follows the store, and logs that once.
func TestHostClockWrong(t *testing.T) {
	for _, skew := range []time.Duration{day, -day, -40 * 365 * day} {
		d := newClocks()
		if skew < -365*day {
			d.host = d.host.Add(-skew)
		}
		d.answer(skew)
		if got := d.settled(skew, d.host.Add(skew-time.Hour)); got != skew {
			t.Errorf("store off by %v: skew is %v", skew, got)
		}
		d.answer(skew, skew, skew+10*365*day, skew)
		if got := d.skew(); got != skew {
			t.Errorf("store off by %v: skew is %v after a wrong answer", skew, got)
		}
		d.host = d.host.Add(skew) // the clock is set; the monotonic clock does not jump
		for i := range d.last {
			d.last[i].here = d.last[i].here.Add(skew)
		}
		d.answer(0, 0, 0)
		if d.skew() != 0 || d.logged("host and of the store differ") != 1 || d.logged("agree again") != 1 {
			t.Errorf("store off by %v: skew is %v after the host's clock was set\n%s", skew, d.skew(), d.logs.String())
		}
	}
}

// The store differs from the host since its first answer: the log decides.
func TestFirstContact(t *testing.T) {
	for _, c := range []struct {
		name         string
		skew, newest time.Duration // of the store and of the newest commit, against the host
		want         time.Duration
	}{
		{"no log, the store is ahead", 5 * day, -100 * 365 * day, 5 * day},
		{"no log, the store is late", -5 * day, -100 * 365 * day, -5 * day},
		{"the host's time is before the log's", 5 * day, 4 * day, 5 * day},
		{"the store's time is before the log's", -5 * day, -day, 0},
		{"both times are before the log's", 5 * day, 3650 * day, 5 * day},
		{"the store is years ahead", 3650 * day, -day, 0},
		{"the log of an idle user, a host that began in 1970", 56 * 365 * day, 54 * 365 * day, 56 * 365 * day},
	} {
		d := newClocks()
		if c.skew > 50*365*day {
			d.host = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
		}
		d.answer(c.skew)
		if got := d.settled(c.skew, d.host.Add(c.newest)); got != c.want {
			t.Errorf("%s: skew is %v, want %v", c.name, got, c.want)
		}
		d.answer(c.skew, c.skew, c.skew)
		differ, wrong := d.logged("host and of the store differ"), d.logged("clock of the store is wrong")
		if c.want == 0 && (differ != 0 || wrong != 1) || c.want != 0 && (differ != 1 || wrong != 0) || d.logged("agree again") != 0 {
			t.Errorf("%s: logged\n%s", c.name, d.logs.String())
		}
	}
}

// A store that does not answer, or contradicts itself, leaves the host's clock.
func TestNoSecondOpinion(t *testing.T) {
	d := newClocks()
	d.answer(day)
	d.Settle(t.Context(), func(context.Context) {}, time.Time{})
	if d.skew() != 0 || d.logged("clock of the store is wrong") != 0 {
		t.Errorf("without further answers: %v\n%s", d.skew(), d.logs.String())
	}
	n := time.Duration(1)
	d.Settle(t.Context(), func(context.Context) { n++; d.answer(n * day) }, time.Time{})
	if d.skew() != 0 || d.logged("clock of the store is wrong") != 1 {
		t.Errorf("with answers that differ: %v\n%s", d.skew(), d.logs.String())
	}
	if d.answer(0); d.skew() != 0 || d.own {
		t.Errorf("then a right one: %v", d.skew())
	}
}
