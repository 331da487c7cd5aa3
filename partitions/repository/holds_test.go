package repository

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

func at(seconds int) time.Time {
	return time.Date(2026, 11, 29, 12, 0, seconds, 0, time.UTC)
}

// A hold ends only at its end, and only if the time is certain.
func TestHoldsActive(t *testing.T) {
	h := &Holds{Holds: []Hold{{Kind: HoldPlaced, Reason: "one", Until: at(10)}, {Kind: HoldTripwire, Reason: "two"}}}
	for _, c := range []struct {
		now  time.Time
		want int
	}{{at(9), 2}, {at(10), 1}, {at(3600), 1}, {time.Time{}, 2}} {
		if got := h.Active(c.now); len(got) != c.want {
			t.Errorf("at %v: %v, want %d", c.now, got, c.want)
		}
		if err := h.Err(c.now); !errors.Is(err, ErrOnHold) || strings.Contains(err.Error(), "one") != (c.want == 2) {
			t.Errorf("at %v: %v", c.now, err)
		}
	}
	if err := (&Holds{}).Err(time.Time{}); err != nil {
		t.Errorf("without holds: %v", err)
	}
}

// A hold that is placed in the second of a release is not released by it, in any copy.
func TestHoldsWithinASecond(t *testing.T) {
	var h Holds
	old := Hold{Kind: HoldPlaced, Reason: "old", Since: at(1)}
	h.add(old)
	copied := Holds{Holds: []Hold{old}}
	if ended := h.release(at(0), AnyHold); len(ended) != 1 { // the clock shows less than the hold
		t.Errorf("ended: %v", ended)
	}
	h.add(Hold{Kind: HoldPlaced, Reason: "new", Since: at(0)})
	if !copied.merge(&h) || len(copied.Holds) != 1 || copied.Holds[0].Reason != "new" {
		t.Errorf("after the merge: %+v", copied)
	}
	if copied.merge(&h) {
		t.Error("a second merge changes something")
	}
	back := Holds{Holds: []Hold{old}}
	if h.merge(&back) || len(h.Holds) != 1 {
		t.Errorf("an old copy changed the holds: %+v", h)
	}
}

// One tripwire is enough, whatever its numbers.
func TestHoldsRepeated(t *testing.T) {
	var h Holds
	for i, x := range []Hold{
		{Kind: HoldTripwire, Reason: "600 of 700"}, {Kind: HoldTripwire, Reason: "650 of 700"},
		{Kind: HoldPlaced, By: "a", Reason: "x"}, {Kind: HoldPlaced, By: "a", Reason: "x"}, {Kind: HoldPlaced, By: "a", Reason: "x", Until: at(1)},
	} {
		x.Since = at(i)
		h.add(x)
	}
	if len(h.Holds) != 3 {
		t.Errorf("%+v", h.Holds)
	}
}

// Anything but a complete holds.json of this version is an error, which counts as a hold.
func TestDecodeHolds(t *testing.T) {
	for text, want := range map[string]error{
		`{"version":1,"holds":[]}`:                nil,
		`{"version":1,"holds":[{"kind":"hold"}]}`: nil,
		``:                                   history.ErrCorrupt,
		`{}`:                                 history.ErrCorrupt,
		`null`:                               history.ErrCorrupt,
		`{"version":1,"holds":[`:             history.ErrCorrupt,
		`{"version":1,"holds":[],"other":1}`: history.ErrCorrupt,
		`{"version":2,"holds":[],"other":1}`: ErrVersion,
		`{"version":1,"holds":[{"kind":"hold","x":true}]}`: history.ErrCorrupt,
	} {
		if _, err := decodeHolds("k", []byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

// A release of one hold does not end another in a copy of the backup, whichever copy is newer.
func TestReleaseOfOneAndCopies(t *testing.T) {
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	court := Hold{Kind: HoldPlaced, By: "anne", Reason: "court", Since: at}
	wire := Hold{Kind: HoldTripwire, By: "host", Since: at.Add(time.Hour)}
	here, copied := new(Holds), new(Holds)
	for _, h := range []*Holds{here, copied} {
		h.add(court)
		h.add(wire)
	}
	ended := here.release(at.Add(2*time.Hour), func(x Hold) bool { return x.Kind == HoldTripwire })
	if len(ended) != 1 || ended[0] != wire || len(here.Holds) != 1 || !here.Holds[0].placed().Equal(at) {
		t.Fatalf("ended %v, left %v", ended, here.Holds)
	}
	back := &Holds{Holds: slices.Clone(copied.Holds)}
	back.merge(here)
	here.merge(copied)
	for name, h := range map[string]*Holds{"here": here, "copy": back} {
		if len(h.Holds) != 1 || h.Holds[0].Reason != "court" || !strings.Contains(h.Holds[0].Text(), "since 2026-11-01 00:00:00") {
			t.Errorf("%s: %v", name, h.Holds)
		}
	}
	if again := here.release(at.Add(3*time.Hour), AnyHold); len(again) != 1 || len(here.Holds) != 0 {
		t.Errorf("released %v, left %v", again, here.Holds)
	}
}
