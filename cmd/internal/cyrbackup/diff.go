package cyrbackup

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// showDiff prints the differences between two moments, one per line.
func showDiff(c *command) error {
	d := &diff{c: c}
	var err error
	if d.a, err = c.loadAt(history.Moment{Time: c.from}); err != nil {
		return err
	}
	if d.a != nil {
		defer d.a.Close()
	}
	if d.b, err = c.load(history.Moment{Time: c.to}); err != nil {
		return c.explain(err)
	}
	defer d.b.Close()
	c.doubts(d.b)
	if err := d.mailboxes(); err != nil {
		return enough(err)
	}
	return enough(d.items())
}

// diff is a comparison of two states; a is nil before the first commit.
type diff struct {
	c     *command
	a, b  *history.Mem
	shown int
}

// change is one difference.
type change struct {
	Change       string   `json:"change"` // added, removed, renamed, changed
	What         string   `json:"what"`   // mailbox, message, sub, seen, sieve, …
	Mailbox      string   `json:"mboxname,omitempty"`
	UniqueID     string   `json:"uniqueid,omitempty"`
	Was          string   `json:"was,omitempty"` // former name
	UID          uint32   `json:"uid,omitempty"`
	GUID         string   `json:"guid,omitempty"`
	Size         uint32   `json:"size,omitempty"`
	InternalDate string   `json:"internaldate,omitempty"`
	Added        []string `json:"flags_added,omitempty"`
	Removed      []string `json:"flags_removed,omitempty"`
	Text         string   `json:"text,omitempty"`
}

func (d *diff) show(k *change) error {
	if d.c.max > 0 && d.shown == d.c.max {
		return errEnough
	}
	d.shown++
	if d.c.json {
		w := lines{w: d.c.out}
		w.line(k)
		return w.err
	}
	mark := map[string]string{"added": "+", "removed": "-", "renamed": ">", "changed": "*"}[k.Change]
	_, err := cli.Fprintf(d.c.out, "%s %s %s\n", mark, k.What, k.words(d.c))
	return err
}

func (k *change) words(c *command) string {
	switch {
	case k.What == "message" && k.Change == "changed":
		return strings.TrimRight(fmt.Sprintf("%s uid %d %s %s%s", k.Mailbox, k.UID, k.GUID, flagSteps(step{added: k.Added, removed: k.Removed}), k.Text), " ")
	case k.What == "message":
		return fmt.Sprintf("%s uid %d %s %s %s", k.Mailbox, k.UID, k.GUID, k.InternalDate, c.size(int64(k.Size)))
	case k.Change == "renamed":
		return k.Was + " -> " + k.Mailbox
	case k.What == "mailbox":
		return strings.TrimRight(k.Mailbox+" "+k.Text, " ")
	}
	return k.Text
}

// mailboxes compares the mailboxes in order of creation, and their messages.
func (d *diff) mailboxes() error {
	for now, err := range d.b.Mailboxes() {
		if err != nil {
			return err
		}
		var was *history.MailboxState
		if d.a != nil {
			if was, err = d.a.Mailbox(now.UniqueID); err != nil {
				return err
			}
		}
		if err := d.mailbox(was, now); err != nil {
			return err
		}
	}
	if d.a == nil {
		return nil
	}
	for was, err := range d.a.Mailboxes() {
		if err != nil {
			return err
		}
		now, err := d.b.Mailbox(was.UniqueID)
		if err != nil {
			return err
		}
		if now == nil && was.Deleted.IsZero() { // deleted, and removed by retention since
			if err := d.show(removedMailbox(was)); err != nil {
				return err
			}
		}
	}
	return nil
}

func removedMailbox(m *history.MailboxState) *change {
	return &change{Change: "removed", What: "mailbox", Mailbox: m.Name, UniqueID: m.UniqueID, Text: "(" + english.Plural(m.Live, "message", "") + ")"}
}

func (d *diff) mailbox(was, now *history.MailboxState) error {
	wasLive, isLive := was != nil && was.Deleted.IsZero(), now.Deleted.IsZero()
	var out []*change
	head := change{What: "mailbox", Mailbox: now.Name, UniqueID: now.UniqueID}
	switch {
	case !wasLive && !isLive:
		return nil
	case wasLive && !isLive:
		return d.show(removedMailbox(was))
	case !wasLive:
		k := head
		k.Change, k.Text = "added", "("+english.Plural(now.Live, "message", "")+")"
		out = append(out, &k)
	default:
		if was.Name != now.Name {
			k := head
			k.Change, k.Was = "renamed", was.Name
			out = append(out, &k)
		}
		for _, s := range settings(was.Fields, now.Fields) {
			k := head
			k.Change, k.Text = "changed", s
			out = append(out, &k)
		}
	}
	for _, k := range out {
		if err := d.show(k); err != nil {
			return err
		}
	}
	if was != nil && was.Commit == now.Commit {
		return nil
	}
	return d.messages(now, wasLive)
}

func (d *diff) messages(m *history.MailboxState, compare bool) error {
	a := d.a
	if !compare {
		a = nil // all messages of a new mailbox are new
	}
	for p, err := range pairUp(a, d.b, m.UniqueID) {
		if err != nil {
			return err
		}
		s := stepOf(p[0], p[1])
		if s.what == "" {
			continue
		}
		r := p[1]
		if r == nil {
			r = p[0]
		}
		k := &change{What: "message", Mailbox: m.Name, UniqueID: m.UniqueID, UID: r.UID, GUID: r.GUID.String(), Size: r.Size,
			InternalDate: local(r.InternalDate), Added: s.added, Removed: s.removed}
		switch s.what {
		case "arrived":
			k.Change = "added"
		case "expunged":
			k.Change = "removed"
		case "annotations":
			k.Change, k.Text = "changed", "annotations"
		default:
			k.Change = "changed"
		}
		if err := d.show(k); err != nil {
			return err
		}
	}
	return nil
}

// items compares subscriptions, seen state, scripts, quotas and annotations.
func (d *diff) items() error {
	for _, kind := range history.ItemKinds() {
		for now, err := range d.b.Items(kind) {
			if err != nil {
				return err
			}
			was, err := d.wasItem(now.Key)
			if err != nil {
				return err
			}
			if err := d.item(was, now); err != nil {
				return err
			}
		}
		if err := d.lostItems(kind); err != nil {
			return err
		}
	}
	return nil
}

// lostItems shows items that were deleted, and removed by retention since.
func (d *diff) lostItems(kind string) error {
	if d.a == nil {
		return nil
	}
	for was, err := range d.a.Items(kind) {
		if err != nil {
			return err
		}
		now, err := d.b.Item(was.Key)
		if err != nil {
			return err
		}
		if now == nil && was.Deleted.IsZero() {
			if err := d.show(&change{Change: "removed", What: kind, Text: itemText(was.Event)}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *diff) wasItem(k history.ItemKey) (*history.ItemState, error) {
	if d.a == nil {
		return nil, nil
	}
	return d.a.Item(k)
}

func (d *diff) item(was, now *history.ItemState) error {
	wasLive, isLive := was != nil && was.Deleted.IsZero(), now.Deleted.IsZero()
	k := &change{What: now.Key.Kind, Text: itemText(now.Event)}
	switch {
	case wasLive && isLive && was.Commit == now.Commit, !wasLive && !isLive:
		return nil
	case wasLive && isLive:
		k.Change = "changed"
	case isLive:
		k.Change = "added"
	default:
		k.Change, k.Text = "removed", itemText(was.Event)
	}
	return d.show(k)
}

// size formats a number of bytes according to the options.
func (c *command) size(n int64) string {
	if c.human {
		return bytesText(n)
	}
	return fmt.Sprint(n)
}
