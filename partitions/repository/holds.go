package repository

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
)

// ErrOnHold reports a backup from which nothing may be removed.
var ErrOnHold = errors.New("on hold")

// The kinds of holds.
const (
	HoldPlaced   = "hold"     // a person placed it
	HoldTripwire = "tripwire" // a program placed it, because much of the mail was deleted
)

// Hold is the reason why nothing may be removed from a backup.
type Hold struct {
	Kind   string    `json:"kind"`
	By     string    `json:"by"`             // for people
	Reason string    `json:"reason"`         // for people
	Since  time.Time `json:"since,omitzero"` // store time; zero: nobody knows
	// Placed is when the hold was placed, if another hold of the backup was released since then;
	// zero: at Since.
	Placed time.Time `json:"placed,omitzero"`
	// Until is when the hold ends by itself; zero: it must be released.
	Until time.Time `json:"until,omitzero"`
}

// holdsVersion is the version of holds.json.
const holdsVersion = 1

// Holds is holds.json: the holds of a backup (docs/format.md 2.4).
type Holds struct {
	Version int    `json:"version"`
	Holds   []Hold `json:"holds"`
	// Released is when holds were released last, by store time. Earlier deletions do
	// not trip the wire again.
	Released time.Time `json:"released,omitzero"`
}

// holdsName is the last element of HoldsKey.
const holdsName = "holds.json"

// HoldsKey is the key of a backup's holds.
func HoldsKey(path string) string { return BackupPrefix(path) + holdsName }

// Active returns the holds that have not ended. now is the store's time, or zero if that is
// in doubt: then no hold has ended.
func (h *Holds) Active(now time.Time) (active []Hold) {
	if h == nil {
		return nil
	}
	for _, x := range h.Holds {
		if x.Until.IsZero() || now.Before(x.Until) {
			active = append(active, x)
		}
	}
	return active
}

// Tripped reports whether a tripwire placed one of the holds.
func (h *Holds) Tripped() bool {
	return slices.ContainsFunc(h.Holds, func(x Hold) bool { return x.Kind == HoldTripwire })
}

// Err returns ErrOnHold with the text of the active holds, or nil.
func (h *Holds) Err(now time.Time) error {
	active := h.Active(now)
	if len(active) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrOnHold, HoldsText(active))
}

// Text describes the hold in one line.
func (x Hold) Text() string {
	var words []string
	switch {
	case x.Kind == HoldTripwire:
		words = append(words, "placed by the tripwire of "+x.By)
	case x.By != "":
		words = append(words, "placed by "+x.By)
	}
	if since := x.placed(); !since.IsZero() {
		words = append(words, "since "+timespec.Text(since))
	}
	if !x.Until.IsZero() {
		words = append(words, "until "+timespec.Text(x.Until))
	}
	s := strings.Join(words, " ")
	switch {
	case x.Reason == "":
		return s
	case s == "":
		return x.Reason
	}
	return s + ": " + x.Reason
}

// placed returns when the hold was placed; zero: nobody knows.
func (x Hold) placed() time.Time {
	if x.Placed.IsZero() {
		return x.Since
	}
	return x.Placed
}

// UnreadableHold represents the holds in a holds.json that cannot be read.
func UnreadableHold() Hold {
	return Hold{Kind: HoldPlaced, Reason: "holds.json is unreadable, which counts as a hold; ctl_backups hold or release replaces it"}
}

// HoldsText describes holds in one line.
func HoldsText(list []Hold) string {
	var all []string
	for _, x := range list {
		all = append(all, x.Text())
	}
	return strings.Join(all, "; ")
}

// repeats reports whether y is the same hold, placed earlier or later. One tripwire is enough.
func (x Hold) repeats(y Hold) bool {
	return x.Kind == y.Kind && (x.Kind == HoldTripwire || x.By == y.By && x.Reason == y.Reason && x.Until.Equal(y.Until))
}

// add adds a hold unless it repeats another one. The hold begins after the last release, even
// if the store's clock shows only seconds.
func (h *Holds) add(x Hold) (changed bool) {
	if slices.ContainsFunc(h.Holds, x.repeats) {
		return false
	}
	if !x.Since.After(h.Released) {
		x.Since = h.Released.Add(1)
	}
	h.Holds = append(h.Holds, x)
	return true
}

// release removes the holds that match. The others, and a hold that is added later, begin after this
// release: otherwise it would end them in copies of the backup.
func (h *Holds) release(at time.Time, match func(Hold) bool) (ended []Hold) {
	h.Released = latest(h.Released, at)
	for _, x := range h.Holds {
		h.Released = latest(h.Released, x.Since)
	}
	kept := []Hold{}
	for _, x := range h.Holds {
		if match(x) {
			ended = append(ended, x)
			continue
		}
		x.Placed, x.Since = x.placed(), h.Released.Add(1)
		kept = append(kept, x)
	}
	h.Holds = kept
	return ended
}

// merge adds the holds of another copy of the backup. A hold that was released in one of
// the copies ends in both.
func (h *Holds) merge(other *Holds) (changed bool) {
	before := len(h.Holds)
	if other.Released.After(h.Released) {
		h.Released, changed = other.Released, true
	}
	h.Holds = slices.DeleteFunc(h.Holds, func(x Hold) bool { return !x.Since.After(h.Released) })
	changed = changed || len(h.Holds) != before
	for _, x := range other.Holds {
		if x.Since.After(h.Released) && !slices.ContainsFunc(h.Holds, x.repeats) {
			h.Holds, changed = append(h.Holds, x), true
		}
	}
	return changed
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
