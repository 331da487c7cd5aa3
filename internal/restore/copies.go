package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A restore gives back each message as many times as the mailbox had it at one moment. Live
// messages always count. Deleted ones return only if that does not make an extra copy:
//
//   - an expunged record is left out if its message is live in any chosen mailbox, as after a
//     move; of several such records, the last to be expunged is used;
//   - from a deleted mailbox whose name is in use again, only the messages that the new
//     mailbox does not have are restored, so an earlier restore is not repeated.

// gathered is a folder of the destination and the mailboxes that go into it.
type gathered struct {
	folder *Folder
	from   []*chosen
}

// folders turns the chosen mailboxes into folders.
func (c *chooser) folders() error {
	targets := c.targets()
	last, err := c.lastExpunged()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := c.fill(t, last); err != nil {
			return err
		}
		c.sel.Folders = append(c.sel.Folders, t.folder)
	}
	// By name, level by level: a parent comes before its children.
	slices.SortStableFunc(c.sel.Folders, func(a, b *Folder) int {
		return slices.Compare(strings.Split(a.Name, "."), strings.Split(b.Name, "."))
	})
	if c.opt.windowed() || c.opt.Deleted == Only {
		c.sel.Folders = slices.DeleteFunc(c.sel.Folders, func(f *Folder) bool { return len(f.Messages) == 0 })
	}
	return nil
}

// targets groups the chosen mailboxes by destination.
func (c *chooser) targets() []*gathered {
	var out []*gathered
	byName := map[string]*gathered{}
	c.list = slices.DeleteFunc(c.list, func(h *chosen) bool {
		head := cyrus.Mailbox{Type: textField(h.state, "MBOXTYPE")}
		return head.Deleted() || c.opt.Deleted == Without && h.gone != 0
	})
	for _, m := range c.opt.Moves {
		if !slices.ContainsFunc(c.list, func(h *chosen) bool { return m.fits(c.opt.own().Target(h.state.Name)) }) {
			c.sel.Unused = append(c.sel.Unused, m)
		}
	}
	for _, h := range c.list {
		name := c.opt.Target(h.state.Name)
		t := byName[name]
		if t == nil {
			t = &gathered{folder: &Folder{Name: name, From: h.state}}
			byName[name] = t
			out = append(out, t)
		}
		t.folder.Merged = len(t.from) > 0
		t.from = append(t.from, h)
	}
	return out
}

// wants reports whether a record is chosen.
func (c *chooser) wants(h *chosen, m *Message) bool {
	return h.whole && c.opt.wants(m, false, h.named, h.gone) || h.guids[m.GUID] && c.opt.wants(m, true, false, h.gone)
}

// each calls fn with every record of a mailbox.
func (c *chooser) each(h *chosen, fn func(*Message) error) error {
	for r, err := range c.src.mem.Records(h.state.UniqueID, 0) {
		if err != nil {
			return err
		}
		if err := fn(c.src.message(r)); err != nil {
			return err
		}
	}
	return nil
}

// includesExpunged reports whether wants can choose an expunged record at all.
func (c *chooser) includesExpunged() bool {
	return c.opt.Deleted == Only || c.opt.Deleted != Without && (c.opt.windowed() ||
		slices.ContainsFunc(c.list, func(h *chosen) bool { return h.guids != nil || h.named && !c.opt.LiveOnly }))
}

// expunged is the record of a message that was expunged last.
type expunged struct {
	ref  Ref
	when int64
}

// lastExpunged finds the expunged record to restore for each message that is live in no
// chosen mailbox.
func (c *chooser) lastExpunged() (map[cyrus.GUID]expunged, error) {
	last := map[cyrus.GUID]expunged{}
	if !c.includesExpunged() {
		return last, nil
	}
	for _, h := range c.list {
		err := c.each(h, func(m *Message) error {
			if was, ok := last[m.GUID]; m.Deleted && (!ok || m.Expunged >= was.when) && c.wants(h, m) {
				last[m.GUID] = expunged{c.src.ref(h.state.UniqueID, m.UID), m.Expunged}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, h := range c.list {
		if len(last) == 0 {
			break
		}
		err := c.each(h, func(m *Message) error {
			if _, ok := last[m.GUID]; ok && !m.Deleted && (h.gone == 0 || c.wants(h, m)) {
				delete(last, m.GUID)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return last, nil
}

// fill chooses the messages of a folder.
func (c *chooser) fill(t *gathered, last map[cyrus.GUID]expunged) error {
	lost, err := c.lost(t)
	if err != nil {
		return err
	}
	for _, h := range t.from {
		if h.gone != 0 {
			continue
		}
		if err := c.records(t.folder, h, last, nil); err != nil {
			return err
		}
	}
	for _, h := range slices.Backward(t.from) {
		if h.gone == 0 {
			continue
		}
		if err := c.records(t.folder, h, last, lost); err != nil {
			return err
		}
	}
	return nil
}

// lost counts how many copies of each message the deleted mailboxes of a folder have and its
// live ones lack. It returns nil, for no limit, if the folder comes from a single mailbox.
func (c *chooser) lost(t *gathered) (map[cyrus.GUID]int, error) {
	if len(t.from) == 1 || !slices.ContainsFunc(t.from, func(h *chosen) bool { return h.gone != 0 }) {
		return nil, nil
	}
	lost := map[cyrus.GUID]int{}
	for _, h := range t.from {
		if h.gone == 0 {
			continue
		}
		here := map[cyrus.GUID]int{}
		err := c.each(h, func(m *Message) error {
			if !m.Deleted && c.wants(h, m) {
				here[m.GUID]++
				lost[m.GUID] = max(lost[m.GUID], here[m.GUID])
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, h := range t.from {
		if h.gone != 0 {
			continue
		}
		err := c.each(h, func(m *Message) error {
			if !m.Deleted && lost[m.GUID] > 0 {
				lost[m.GUID]--
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return lost, nil
}

// records chooses the messages of one mailbox. lost limits how many copies of each live
// message may be added; nil means no limit.
func (c *chooser) records(f *Folder, h *chosen, last map[cyrus.GUID]expunged, lost map[cyrus.GUID]int) error {
	return c.each(h, func(m *Message) error {
		if !c.wants(h, m) {
			return nil
		}
		ref := c.src.ref(h.state.UniqueID, m.UID)
		switch {
		case m.Deleted && last[m.GUID].ref != ref, !m.Deleted && lost != nil && lost[m.GUID] == 0:
			return nil
		case !m.Deleted && lost != nil:
			lost[m.GUID]--
		}
		return c.take(f, h, m, ref)
	})
}

// take adds a message to a folder, or records that the backup has no body for it.
func (c *chooser) take(f *Folder, h *chosen, m *Message, ref Ref) error {
	held, err := c.src.mem.Message(m.GUID)
	if err != nil {
		return err
	}
	if held != nil && !held.Erased.IsZero() {
		c.sel.Erased = append(c.sel.Erased, fmt.Errorf("%s uid %d: %w", h.state.Name, m.UID, held.BodyError()))
		return nil
	}
	if held == nil || held.Missing {
		if !m.Deleted { // the body of an expunged message is optional
			c.sel.NotHeld = append(c.sel.NotHeld, fmt.Errorf("%s uid %d (message %s): %w", h.state.Name, m.UID, m.GUID, ErrNotHeld))
		}
		return nil
	}
	f.Messages = append(f.Messages, ref)
	f.Bytes += held.Size
	return nil
}

func textField(m *history.MailboxState, key string) string {
	for _, p := range m.Fields {
		if p.Key == key {
			return p.Value.Str
		}
	}
	return ""
}
