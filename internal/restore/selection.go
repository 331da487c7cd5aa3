package restore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Selection is the part of a backup to restore.
type Selection struct {
	Folders []*Folder
	// Unknown has an error for each object that the backup does not have.
	Unknown []error
	// NotHeld has an error for each chosen message whose body is not in the backup.
	NotHeld []error
	// Erased has an error for each chosen message whose body was erased.
	Erased []error
	// Unused are the moves of Options that match no mailbox of the selection.
	Unused []Move
	// Account reports whether the whole backup was chosen, including the data that belongs
	// to no mailbox (subscriptions, scripts, quota).
	Account bool
	// End is when the account began to be deleted, with Options.AtEnd; zero = not deleted.
	End time.Time
}

// Messages returns the number of messages and the size of their bodies.
func (s *Selection) Messages() (n int, size int64) {
	for _, f := range s.Folders {
		n += len(f.Messages)
		size += f.Bytes
	}
	return n, size
}

// chosen is a mailbox that is chosen as a whole or in part.
type chosen struct {
	state *history.MailboxState
	gone  int64               // when it was deleted, in seconds since the epoch; 0 = not deleted
	whole bool                // all messages
	named bool                // all messages, because an object names it
	guids map[cyrus.GUID]bool // these messages, in addition
}

// Select reads the state and chooses. It reads every record of the chosen mailboxes.
func (s *Source) Select(o Options) (*Selection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.newChooser(&o)
	if err != nil {
		return nil, err
	}
	c.sel = &Selection{Account: o.All && !o.windowed() && o.Deleted != Only && o.Into == "", End: c.end}
	if o.All {
		c.all()
	}
	if err := c.objects(); err != nil {
		return nil, err
	}
	return c.sel, c.folders()
}

type chooser struct {
	src   *Source
	opt   *Options
	sel   *Selection
	boxes []*history.MailboxState // of the newest life, in order of creation
	list  []*chosen
	of    map[*history.MailboxState]*chosen // list, by mailbox

	former []formerBox                    // of earlier lives
	ended  map[*history.MailboxState]bool // deleted with the account; they count as not deleted
	end    time.Time                      // when that deletion began; zero = not deleted
}

// gone reports whether a mailbox was deleted, at once or with delay.
func (c *chooser) gone(m *history.MailboxState) bool {
	return !c.ended[m] && (!m.Deleted.IsZero() || cyrus.IsDeleted(m.Name, c.opt.DeletedPrefix))
}

// goneAt returns when a mailbox was deleted, in seconds since the epoch; 0 = live.
func (c *chooser) goneAt(m *history.MailboxState) int64 {
	at, kept := history.DeletedAt(m.Name, c.opt.DeletedPrefix)
	switch {
	case c.ended[m]:
		return 0
	case !m.Deleted.IsZero():
		return m.Deleted.Unix()
	case kept:
		return max(at.Unix(), 1)
	}
	return 0
}

func (c *chooser) all() {
	for _, m := range c.boxes {
		moved := m.MovedTo != ""
		tombstone := !m.Deleted.IsZero() && !c.ended[m]
		switch {
		case moved, c.gone(m) && !tombstone && !c.opt.KeepDeletedPrefix && c.opt.Deleted != Only && !c.opt.windowed(),
			tombstone && c.opt.Deleted != Only && !c.opt.windowed():
			continue
		case c.gone(m) && c.opt.Deleted == Without:
			continue
		}
		c.choose(m).whole = true
	}
}

func (c *chooser) objects() error {
	guids := map[cyrus.GUID]bool{}
	for _, word := range c.opt.Objects {
		switch recognise(word) {
		case isGUID:
			g, err := cyrus.ParseGUID(word)
			if err != nil {
				return err
			}
			guids[g] = false
			continue
		case isUniqueID:
			i := slices.IndexFunc(c.boxes, func(m *history.MailboxState) bool { return m.UniqueID == word })
			if i >= 0 {
				c.add(c.boxes[i])
				c.below(c.opt.own().Target(c.boxes[i].Name))
				continue
			}
		}
		if !c.name(word) {
			c.sel.Unknown = append(c.sel.Unknown, c.unknown(word))
		}
	}
	if len(guids) == 0 {
		return nil
	}
	return c.guids(guids)
}

// unknown returns the error for a word that names nothing.
func (c *chooser) unknown(word string) error {
	if life := c.formerLife(word); life > 0 {
		return fmt.Errorf("%s was deleted in an earlier life of this user and may belong to another person: use --life %d to restore it", word, life)
	}
	return fmt.Errorf("%s: no such mailbox, uniqueid or message in the backup at this moment (write mailboxes like %s; see cyr_backup list mailboxes)", word, c.opt.example())
}

// choose returns the entry of a mailbox, at first with nothing chosen.
func (c *chooser) choose(m *history.MailboxState) *chosen {
	h := c.of[m]
	if h == nil {
		h = &chosen{state: m, gone: c.goneAt(m)}
		c.of[m] = h
		c.list = append(c.list, h)
	}
	return h
}

func (c *chooser) add(m *history.MailboxState) {
	h := c.choose(m)
	h.whole, h.named = true, true
}

// name chooses by mailbox name: the live mailbox, or else the one deleted last.
func (c *chooser) name(word string) bool {
	plain := c.opt.own()
	for _, name := range c.opt.AdminForm.Candidates(word) {
		m := c.latest(func(m *history.MailboxState) bool { return m.Name == name }, false)
		if m == nil {
			m = c.latest(func(m *history.MailboxState) bool { return m.Name == name || plain.Target(m.Name) == name }, true)
		}
		if m != nil {
			c.add(m)
		}
		if c.below(name) || m != nil {
			return true
		}
	}
	return false
}

// latest returns the mailbox that was created last, among the live or the deleted ones.
func (c *chooser) latest(match func(*history.MailboxState) bool, gone bool) *history.MailboxState {
	for _, m := range slices.Backward(c.boxes) {
		if c.gone(m) == gone && match(m) {
			return m
		}
	}
	return nil
}

// below chooses, with -r, the mailboxes below one: live children, and deleted ones whose name
// is not in use again.
func (c *chooser) below(parent string) bool {
	if !c.opt.Recursive {
		return false
	}
	taken := map[string]bool{}
	for _, gone := range []bool{false, true} {
		for _, m := range slices.Backward(c.boxes) {
			name := m.Name
			if gone && !c.opt.KeepDeletedPrefix {
				name, _ = cyrus.Undeleted(name, c.opt.DeletedPrefix)
			}
			if c.gone(m) == gone && isBelow(name, parent) && !taken[name] && m.MovedTo == "" {
				taken[name] = true
				c.add(m)
			}
		}
	}
	return len(taken) > 0
}

// guids finds the mailboxes with the wanted messages: live ones if there are any.
func (c *chooser) guids(wanted map[cyrus.GUID]bool) error {
	in := map[*history.MailboxState]map[cyrus.GUID]bool{}
	for _, gone := range []bool{false, true} {
		found := map[cyrus.GUID]bool{}
		for _, m := range c.boxes {
			if c.gone(m) != gone {
				continue
			}
			for r, err := range c.src.mem.Records(m.UniqueID, 0) {
				if err != nil {
					return err
				}
				done, want := wanted[r.GUID]
				if !want || done {
					continue
				}
				if in[m] == nil {
					in[m] = map[cyrus.GUID]bool{}
				}
				in[m][r.GUID], found[r.GUID] = true, true
			}
		}
		for g := range found {
			wanted[g] = true
		}
	}
	for g, found := range wanted {
		if !found {
			c.sel.Unknown = append(c.sel.Unknown, fmt.Errorf("%s: no message with this GUID in the backup at this moment", g))
		}
	}
	for _, m := range c.boxes {
		if in[m] != nil {
			c.choose(m).guids = in[m]
		}
	}
	return nil
}

// ErrNothing means that nothing in the backup matches the request.
var ErrNothing = errors.New("nothing in the backup matches the request")
