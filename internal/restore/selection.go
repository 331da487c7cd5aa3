package restore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Selection is what is to be restored.
type Selection struct {
	Folders []*Folder
	// Unknown names objects that the backup does not have, each in a line for a person.
	Unknown []error
	// NotHeld counts messages that were chosen and whose body is not in the backup.
	NotHeld []error
	// Unused are the moves of Options that no mailbox of the selection fits.
	Unused []Move
	// Account says that all of the backup was asked for, so that what belongs to no
	// mailbox (subscriptions, scripts, quota) comes back too.
	Account bool
	// End is when the account began to be deleted, with Options.AtEnd; zero = it was not.
	End time.Time
}

// Messages is the number of messages and of their bytes.
func (s *Selection) Messages() (n int, size int64) {
	for _, f := range s.Folders {
		n += len(f.Messages)
		size += f.Bytes
	}
	return n, size
}

// chosen is a mailbox that is chosen, or some messages of it.
type chosen struct {
	state *history.MailboxState
	gone  int64               // when it was deleted, in seconds since the epoch; 0 = it was not
	whole bool                // all of it
	named bool                // all of it, by an object
	guids map[cyrus.GUID]bool // these, whatever else is chosen of it
}

// Select reads the state and chooses. It reads every record of the mailboxes chosen.
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
	of    map[*history.MailboxState]*chosen // the list, by mailbox

	former []formerBox                    // of the lives before
	ended  map[*history.MailboxState]bool // deleted with the account: they count as not deleted
	end    time.Time                      // when that began; zero = it was not deleted
}

// gone says that a mailbox does not live: it was deleted, at once or with delay.
func (c *chooser) gone(m *history.MailboxState) bool {
	return !c.ended[m] && (!m.Deleted.IsZero() || cyrus.IsDeleted(m.Name, c.opt.DeletedPrefix))
}

// goneAt is when a mailbox was deleted, in seconds since the epoch; 0 = it lives.
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

// unknown is the error about a word that names nothing.
func (c *chooser) unknown(word string) error {
	if life := c.formerLife(word); life > 0 {
		return fmt.Errorf("%s: it was deleted in an earlier life of this user, and may be another person's: --life %d brings that life", word, life)
	}
	return fmt.Errorf("%s: the backup of this moment has no such mailbox, uniqueid or message (mailboxes are named as %s; cyr_backup list mailboxes shows them)", word, c.opt.example())
}

// choose is what is chosen of a mailbox, nothing at first.
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

// name chooses by a mailbox's name: the one that lives, or else the latest deleted one.
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

// latest is the mailbox that was created last of those that live, or that do not.
func (c *chooser) latest(match func(*history.MailboxState) bool, gone bool) *history.MailboxState {
	for _, m := range slices.Backward(c.boxes) {
		if c.gone(m) == gone && match(m) {
			return m
		}
	}
	return nil
}

// below chooses, with -r, what is below a mailbox: children that live, and of those
// that do not the ones whose name nobody has taken.
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

// guids finds the mailboxes in which messages stand: those that live, if there are any.
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
			c.sel.Unknown = append(c.sel.Unknown, fmt.Errorf("%s: no message of the backup of this moment has this GUID", g))
		}
	}
	for _, m := range c.boxes {
		if in[m] != nil {
			c.choose(m).guids = in[m]
		}
	}
	return nil
}

// ErrNothing: nothing of the backup fits what was asked for.
var ErrNothing = errors.New("nothing in the backup fits what was asked for")
