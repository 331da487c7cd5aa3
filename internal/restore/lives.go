package restore

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// endGap is how far apart deletions may be that belong to the end of an account: a mail
// server deletes the mailboxes of a user one after the other.
const endGap = time.Minute

// lives are those of a user's backup; of any other there is one.
func lives(mem *history.Mem) (history.Lives, error) {
	if !strings.HasPrefix(mem.Backup(), "user/") {
		return history.Lives{{Number: 1}}, nil
	}
	return history.LivesOf(mem)
}

// Lives are those of the backup.
func (s *Source) Lives() (history.Lives, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lives(s.mem)
}

// Time is when the state was committed.
func (s *Source) Time() time.Time { return s.mem.Time() }

// newChooser looks at the mailboxes of the newest life of the state. Those of the lives
// before are another person's.
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

// formerBox is a mailbox of a life before the newest.
type formerBox struct {
	state *history.MailboxState
	life  int
}

// formerLife is the newest of the former lives that has what a word names; 0 = none has.
func (c *chooser) formerLife(word string) (life int) {
	meant := c.opt.AdminForm.Candidates(word)
	for _, f := range c.former {
		if f.state.UniqueID == word || slices.Contains(meant, c.opt.own().Target(f.state.Name)) {
			life = max(life, f.life)
		}
	}
	return life
}

// findEnd finds the mailboxes that were deleted with the INBOX: together with it or after
// it, one shortly after the other. They count as not deleted. Of an INBOX that was replaced
// the next life says when.
func (c *chooser) findEnd() {
	inbox := c.inbox()
	end := c.opt.NextLife.Unix()
	switch {
	case inbox != nil && c.gone(inbox):
		end = c.goneAt(inbox)
	case c.opt.NextLife.IsZero():
		return // it has not ended
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

// inbox is the user's INBOX that was there last, deleted or not.
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
