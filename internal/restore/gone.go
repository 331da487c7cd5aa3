package restore

import (
	"time"

	"backupd/replication/cyrus"
)

// together is how close in time deletions are for a person who asks what happened.
const together = time.Hour

// Gone is what a selection has, and what was deleted from it at one go.
type Gone struct {
	Left      int // messages that are not deleted
	Mailboxes int // deleted whole
	Messages  int // expunged, or in those mailboxes
	// First and Last are when. A mailbox that was deleted with delay has the time of the
	// mail server's clock, all else that of the store.
	First, Last time.Time
	// Commit is the first that deleted a mailbox with delay; 0 = none did.
	Commit uint64
}

// Worth says that more was deleted at one go than is left.
func (g *Gone) Worth() bool { return g.Messages > g.Left || g.Mailboxes > 0 && g.Left == 0 }

// Gone finds the largest loss within an hour among the mailboxes that a selection is about,
// deleted ones included. It reads all of their records.
func (s *Source) Gone(o Options) (*Gone, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.newChooser(&o)
	if err != nil {
		return nil, err
	}
	t := &losses{c: c, by: map[int64]*Gone{}}
	for _, m := range c.boxes {
		head := cyrus.Mailbox{Type: textField(m, "MBOXTYPE")}
		if m.MovedTo != "" || head.Deleted() || !o.concerns(m.Name) {
			continue
		}
		if err := t.mailbox(&chosen{state: m, gone: t.c.goneAt(m)}); err != nil {
			return nil, err
		}
	}
	return t.largest(), nil
}

// concerns says that a mailbox, under the name it had before it was deleted, is among those
// that were asked for.
func (o *Options) concerns(name string) bool {
	if o.All {
		return true
	}
	name = o.own().Target(name)
	for _, word := range o.Objects {
		for _, meant := range o.AdminForm.Meant(word) {
			if recognise(word) == isName && (name == meant || o.Recursive && isBelow(name, meant)) {
				return true
			}
		}
	}
	return false
}

// losses adds up what was deleted, by the hour.
type losses struct {
	c    *chooser
	left int
	by   map[int64]*Gone
}

func (l *losses) mailbox(h *chosen) error {
	if h.gone != 0 {
		g := l.at(h.gone)
		g.Mailboxes++
		g.Messages += h.state.Live
		if h.state.Deleted.IsZero() {
			g.Commit = earlier(g.Commit, h.state.Commit)
		}
		return nil
	}
	return l.c.each(h, func(m *Message) error {
		switch {
		case !m.Deleted:
			l.left++
		case m.Expunged != 0:
			l.at(m.Expunged).Messages++
		}
		return nil
	})
}

// at is the hour of a deletion.
func (l *losses) at(sec int64) *Gone {
	key := sec / int64(together/time.Second)
	g := l.by[key]
	t := time.Unix(sec, 0)
	if g == nil {
		g = &Gone{First: t, Last: t}
		l.by[key] = g
	}
	if t.Before(g.First) {
		g.First = t
	}
	if t.After(g.Last) {
		g.Last = t
	}
	return g
}

// largest joins hours that follow one another, and picks the greatest loss.
func (l *losses) largest() *Gone {
	best := &Gone{}
	for key, g := range l.by {
		sum := *g
		if next := l.by[key+1]; next != nil {
			sum.Messages += next.Messages
			sum.Mailboxes += next.Mailboxes
			sum.Last, sum.Commit = next.Last, earlier(sum.Commit, next.Commit)
		}
		more := sum.Messages > best.Messages || sum.Messages == best.Messages && sum.Mailboxes > best.Mailboxes
		// On a par, the later one: of a user deleted twice the last mail is wanted.
		if more || sum.Messages == best.Messages && sum.Mailboxes == best.Mailboxes && sum.First.After(best.First) {
			*best = sum
		}
	}
	best.Left = l.left
	return best
}

// earlier is the lower number of two commits, of which 0 is none.
func earlier(a, b uint64) uint64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
