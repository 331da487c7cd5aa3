package cyrbackup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/visible"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// tally counts the changes of a commit to one mailbox.
type tally struct {
	UniqueID    string   `json:"uniqueid"`
	Name        string   `json:"mboxname"`
	Arrived     int      `json:"arrived,omitempty"`
	Expunged    int      `json:"expunged,omitempty"`
	Flags       int      `json:"flags,omitempty"`
	Annotations int      `json:"annotations,omitempty"`
	Notes       []string `json:"notes,omitempty"` // created, renamed from …, ACL … -> …

	details []string
}

// of returns the tally of a mailbox.
func (l *logWalk) of(e *entry, uniqueid string) (*tally, error) {
	for _, t := range e.Mailboxes {
		if t.UniqueID == uniqueid {
			return t, nil
		}
	}
	t := &tally{UniqueID: uniqueid}
	m, err := l.state.Mailbox(uniqueid)
	if err != nil {
		return nil, err
	}
	if m != nil {
		t.Name = m.Name
	} else if len(l.lost) > 0 {
		t.Name = uniqueid // created in a lost commit
	}
	e.Mailboxes = append(e.Mailboxes, t)
	return t, nil
}

func (t *tally) note(format string, args ...any) {
	t.Notes = append(t.Notes, visible.Text(fmt.Sprintf(format, args...)))
}

func (t *tally) head(was *history.MailboxState, now *history.MailboxEvent) {
	switch {
	case was == nil:
		t.note("created")
	case !was.Deleted.IsZero():
		t.note("there again")
	case was.Name != now.Name:
		t.note("renamed from %s", was.Name)
	}
	t.Name = now.Name
	if was != nil {
		t.Notes = append(t.Notes, settings(was.Fields, now.Fields)...)
	}
}

func (l *logWalk) record(t *tally, r *cyrus.Record) error {
	old, err := l.state.Record(t.UniqueID, r.UID)
	if err != nil {
		return err
	}
	now := &history.RecordState{Record: *r}
	if r.Expunged() {
		now.Expunged = 1
	}
	s := stepOf(old, now)
	switch s.what {
	case "arrived":
		t.Arrived++
	case "expunged":
		t.Expunged++
	case "flags":
		t.Flags++
	case "annotations":
		t.Annotations++
	}
	if s.what != "" && l.c.verbose {
		t.details = append(t.details, fmt.Sprintf("%s uid %d %s %s", s.what, r.UID, r.GUID, flagSteps(s)))
	}
	return nil
}

func flagSteps(s step) string {
	var out []string
	for _, f := range s.added {
		out = append(out, "+"+f)
	}
	for _, f := range s.removed {
		out = append(out, "-"+f)
	}
	return strings.Join(out, " ")
}

func (l *logWalk) spooled(t *tally, ev *history.RecordBlocksEvent) error {
	for _, ref := range ev.Blocks {
		for r, err := range l.replayer.Blocks(ref) {
			if err != nil {
				return err
			}
			if err := l.record(t, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// swept counts the records that are missing from a complete set.
func (l *logWalk) swept(t *tally, h history.Header) error {
	for r, err := range l.state.Records(t.UniqueID, 0) {
		if err != nil {
			return err
		}
		if r.Expunged == 0 && r.Commit != h.Number {
			t.Expunged++
		}
	}
	return nil
}

func (t *tally) summary() string {
	parts := slices.Clone(t.Notes)
	for _, n := range []struct {
		n    int
		text string
	}{{t.Arrived, "arrived"}, {t.Expunged, "expunged"}, {t.Flags, "with other flags"}, {t.Annotations, "with other annotations"}} {
		if n.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.n, n.text))
		}
	}
	if len(parts) == 0 {
		return "counters"
	}
	return strings.Join(parts, ", ")
}
