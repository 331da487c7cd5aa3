package restore

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// endGap is the longest pause between two deletions that both belong to the end of an
// account: a mail server deletes the mailboxes of a user one after the other.
const endGap = time.Minute

// lives returns the lives of a user's backup. Any other backup has a single one.
func lives(mem *history.Mem) (history.Lives, error) {
	if !strings.HasPrefix(mem.Backup(), "user/") {
		return history.Lives{{Number: 1}}, nil
	}
	return history.LivesOf(mem)
}

// Lives returns the lives of the backup.
func (s *Source) Lives() (history.Lives, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lives(s.mem)
}

// Time returns the time at which the state was committed.
func (s *Source) Time() time.Time { return s.mem.Time() }

// newChooser collects the mailboxes of the newest life of the state. Those of earlier lives
// may belong to another person.
func (s *Source) newChooser(o *Options) (*chooser, error) {
	c := &chooser{src: s, opt: o, of: map[*history.MailboxState]*chosen{}, ended: map[*history.MailboxState]bool{}}
	ls, err := lives(s.mem)
	if err != nil {
		return nil, err
	}
	for m, err := range s.mem.Mailboxes() {
		switch {
		case err != nil:
			return nil, err
		case ls.Of(m, o.DeletedPrefix).Number == ls.Newest().Number:
			c.boxes = append(c.boxes, m)
		default:
			c.former = append(c.former, formerBox{m, ls.Of(m, o.DeletedPrefix).Number})
		}
	}
	if o.AtEnd {
		c.findEnd()
	}
	return c, nil
}

// formerBox is a mailbox of an earlier life.
type formerBox struct {
	state *history.MailboxState
	life  int
}

// formerLife returns the newest earlier life with a mailbox of this name; 0 = none.
func (c *chooser) formerLife(word string) (life int) {
	names := c.opt.AdminForm.Candidates(word)
	for _, f := range c.former {
		if f.state.UniqueID == word || slices.Contains(names, c.opt.own().Target(f.state.Name)) {
			life = max(life, f.life)
		}
	}
	return life
}

// findEnd finds the mailboxes that were deleted with the INBOX: at the same time or later,
// each shortly after the one before. They count as not deleted. If a new INBOX replaced the
// old one, the start of the next life gives the time.
func (c *chooser) findEnd() {
	inbox := c.inbox()
	end := c.opt.NextLife.Unix()
	switch {
	case inbox != nil && c.gone(inbox):
		end = c.goneAt(inbox)
	case c.opt.NextLife.IsZero():
		return // this life has not ended
	}
	dead := slices.DeleteFunc(slices.Clone(c.boxes), func(m *history.MailboxState) bool { return !c.gone(m) || m.MovedTo != "" })
	slices.SortStableFunc(dead, func(a, b *history.MailboxState) int { return cmp.Compare(c.goneAt(b), c.goneAt(a)) })
	ended := map[*history.MailboxState]bool{}
	for _, m := range dead {
		at := c.goneAt(m)
		if at < end-int64(endGap/time.Second) {
			break
		}
		end = min(end, at)
		ended[m] = true
	}
	c.ended, c.end = ended, time.Unix(end, 0)
}

// inbox returns the last INBOX of the user, deleted or not.
func (c *chooser) inbox() (found *history.MailboxState) {
	for _, m := range c.boxes {
		if name, _ := cyrus.Undeleted(m.Name, c.opt.DeletedPrefix); !cyrus.IsInbox(name) {
			continue
		}
		if !c.gone(m) {
			return m
		}
		if found == nil || c.goneAt(m) >= c.goneAt(found) {
			found = m
		}
	}
	return found
}
