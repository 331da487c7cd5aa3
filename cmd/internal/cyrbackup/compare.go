package cyrbackup

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/internal/visible"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// counters are fields of a mailbox that change with its messages. The log does not show them.
var counters = []string{"LAST_UID", "HIGHESTMODSEQ", "RECENTUID", "RECENTTIME", "LAST_APPENDDATE", "POP3_LAST_LOGIN",
	"SYNC_CRC", "SYNC_CRC_ANNOT", "XCONVMODSEQ", "FOLDERMODSEQ", "RACLMODSEQ", "MBOXNAME", "UNIQUEID"}

// settings returns the fields that differ between two heads of a mailbox, as KEY old -> new.
func settings(a, b []dlist.Pair) []string {
	var out []string
	for _, key := range keysOf(a, b) {
		if slices.Contains(counters, key) {
			continue
		}
		if x, y := spelled(a, key), spelled(b, key); x != y {
			out = append(out, fmt.Sprintf("%s %s -> %s", key, x, y))
		}
	}
	return out
}

func keysOf(lists ...[]dlist.Pair) []string {
	var out []string
	for _, l := range lists {
		for _, p := range l {
			if !slices.Contains(out, p.Key) {
				out = append(out, p.Key)
			}
		}
	}
	return out
}

// spelled returns a field in wire format, on one line; "-" if it is missing.
func spelled(fields []dlist.Pair, key string) string {
	v, ok := dlist.KV(fields...).Get(key)
	if !ok {
		return "-"
	}
	return visible.Text(string(dlist.Append(nil, v, false)))
}

// step is the change of a record between two states. Either may be nil.
type step struct {
	what           string // arrived, expunged, flags, changed; "" = nothing
	added, removed []string
}

func steps(old, now *cyrus.Record, wasLive, isLive bool) step {
	switch {
	case !wasLive && isLive:
		return step{what: "arrived"}
	case wasLive && !isLive:
		return step{what: "expunged"}
	case !isLive:
		return step{}
	}
	s := step{added: difference(old.Flags, now.Flags), removed: difference(now.Flags, old.Flags)}
	switch {
	case len(s.added)+len(s.removed) > 0:
		s.what = "flags"
	case !bytes.Equal(annotationsOf(old), annotationsOf(now)):
		s.what = "annotations"
	}
	return s
}

func annotationsOf(r *cyrus.Record) []byte {
	return cyrus.AppendJSON(nil, &cyrus.Record{Annotations: r.Annotations})
}

// stepOf compares a record of two states.
func stepOf(old, now *history.RecordState) step {
	var a, b *cyrus.Record
	if old != nil {
		a = &old.Record
	}
	if now != nil {
		b = &now.Record
	}
	return steps(a, b, old != nil && old.Expunged == 0, now != nil && now.Expunged == 0)
}

// pairUp yields pairs of records of a mailbox in two states, by uid; nil if a state lacks it.
func pairUp(a, b *history.Mem, uniqueid string) iter.Seq2[[2]*history.RecordState, error] {
	return func(yield func([2]*history.RecordState, error) bool) {
		nextA, stopA := iter.Pull2(recordsOf(a, uniqueid))
		defer stopA()
		nextB, stopB := iter.Pull2(recordsOf(b, uniqueid))
		defer stopB()
		x, errX, okX := nextA()
		y, errY, okY := nextB()
		for okX || okY {
			for _, err := range []error{errX, errY} {
				if err != nil {
					yield([2]*history.RecordState{}, err)
					return
				}
			}
			var p [2]*history.RecordState
			if okX && (!okY || x.UID <= y.UID) {
				p[0] = x
			}
			if okY && (!okX || y.UID <= x.UID) {
				p[1] = y
			}
			if !yield(p, nil) {
				return
			}
			if p[0] != nil {
				x, errX, okX = nextA()
			}
			if p[1] != nil {
				y, errY, okY = nextB()
			}
		}
	}
}

// recordsOf returns the records of a mailbox; none without a state.
func recordsOf(m *history.Mem, uniqueid string) iter.Seq2[*history.RecordState, error] {
	if m == nil {
		return func(func(*history.RecordState, error) bool) {}
	}
	return m.Records(uniqueid, 0)
}

// itemText describes an item event.
func itemText(e history.Event) string {
	switch e := e.(type) {
	case *history.SubEvent:
		if !e.Subscribed {
			return "unsubscribed " + e.Name
		}
		return "subscribed " + e.Name
	case *history.SeenEvent:
		return fmt.Sprintf("seen state of %s in %s", e.User, e.UniqueID)
	case *history.SieveEvent:
		return fmt.Sprintf("script %s (%d bytes)", visible.Text(e.Filename), len(e.Content))
	case *history.UnsieveEvent:
		return "script " + e.Filename + " removed"
	case *history.SieveActiveEvent:
		if e.Filename == "" {
			return "no active script"
		}
		return "active script " + e.Filename
	case *history.QuotaEvent:
		return "quota of " + e.Root + ": " + quotaText(e.Fields)
	case *history.UnquotaEvent:
		return "quota of " + e.Root + " removed"
	case *history.AnnotationEvent:
		return annotationText(e)
	case *history.BridgedEvent:
		return bridgeText(e)
	case *history.LostEvent:
		return fmt.Sprintf("the bodies of %d messages are lost", len(e.Messages))
	case *history.ErasedEvent:
		return fmt.Sprintf("the bodies of %d messages were erased", len(e.Messages))
	case *history.LockedEvent:
		return "locked by " + visible.Text(e.Owner)
	case *history.UnuserEvent:
		return "the account " + visible.Text(e.User) + " was deleted"
	case *history.PruneEvent:
		return "retention removed content deleted before " + timespec.Text(e.Before)
	case *history.RetainedEvent:
		return fmt.Sprintf("retention removed the history up to commit %d", e.To)
	case *history.SealedEvent:
		return "the log ends: " + visible.Text(e.Reason)
	}
	return e.Kind()
}

func bridgeText(e *history.BridgedEvent) string {
	var lost []string
	for _, r := range e.Lost {
		lost = append(lost, r.String())
	}
	return "continues without " + strings.Join(lost, ", ")
}

func annotationText(e *history.AnnotationEvent) string {
	if l, ok := history.NotedLife(e); ok {
		return fmt.Sprintf("life %d of the user begins: the user has a new INBOX", l.Number)
	}
	where := e.Entry
	if e.Name != "" {
		where += " of " + e.Name
	}
	if e.UserID != "" {
		where += " for " + e.UserID
	}
	if e.Value == nil {
		return "annotation " + where + " removed"
	}
	const most = 60
	v := *e.Value
	if len(v) > most {
		v = strings.ToValidUTF8(v[:most], "") + "…"
	}
	return "annotation " + where + " = " + visible.Text(v)
}
