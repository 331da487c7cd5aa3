package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A restore brings a message as often as it was there at one moment. What was live counts
// as it is. What was deleted comes back only where that does not make another copy:
//
//   - an expunged record is left out if its message is live in any mailbox that is chosen,
//     as after a move; of several such records the last to be expunged is taken;
//   - of a deleted mailbox whose name is in use again, only those messages come back that
//     the new one has not, as after an earlier restore.

// gathered is a folder of the destination, and the mailboxes that go into it.
type gathered struct {
	folder *Folder
	from   []*chosen
}

// folders makes folders of what was chosen.
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

// targets groups what was chosen by where it goes.
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

// wants says whether a record is chosen.
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

// bringsExpunged says that an expunged record can be chosen at all, as wants decides.
func (c *chooser) bringsExpunged() bool {
	return c.opt.Deleted == Only || c.opt.Deleted != Without && (c.opt.windowed() ||
		slices.ContainsFunc(c.list, func(h *chosen) bool { return h.guids != nil || h.named && !c.opt.LiveOnly }))
}

// expunged is a record that was expunged last of all those of its message.
type expunged struct {
	ref  Ref
	when int64
}

// lastExpunged finds, of each message that is live in no chosen mailbox, the expunged
// record to bring.
func (c *chooser) lastExpunged() (map[cyrus.GUID]expunged, error) {
	last := map[cyrus.GUID]expunged{}
	if !c.bringsExpunged() {
		return last, nil
	}
	for _, h := range c.list {
		err := c.each(h, func(m *Message) error {
			if was, ok := last[m.GUID]; m.Deleted && (!ok || m.Expunged >= was.when) && c.wants(h, m) {
				last[m.GUID] = expunged{Ref{h.state.UniqueID, m.UID}, m.Expunged}
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

// lost counts how often each message of the deleted mailboxes of a folder lacks in it, if
// there is more than one mailbox; nil = the only mailbox is as it is.
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

// records chooses the messages of one mailbox. lost: how often those that were live in it
// may come; nil = as often as they are in it.
func (c *chooser) records(f *Folder, h *chosen, last map[cyrus.GUID]expunged, lost map[cyrus.GUID]int) error {
	return c.each(h, func(m *Message) error {
		if !c.wants(h, m) {
			return nil
		}
		ref := Ref{h.state.UniqueID, m.UID}
		switch {
		case m.Deleted && last[m.GUID].ref != ref, !m.Deleted && lost != nil && lost[m.GUID] == 0:
			return nil
		case !m.Deleted && lost != nil:
			lost[m.GUID]--
		}
		return c.take(f, h, m, ref)
	})
}

// take adds a message to a folder, or notes that its body is not held.
func (c *chooser) take(f *Folder, h *chosen, m *Message, ref Ref) error {
	held, err := c.src.mem.Message(m.GUID)
	if err != nil {
		return err
	}
	if held == nil || held.Missing {
		if !m.Deleted { // of an expunged one nobody promised a body
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
