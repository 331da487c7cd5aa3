package restore

import (
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Deletions compares what the backup has now with an earlier moment.
type Deletions struct {
	Live int // messages that are present now
	Lost int // distinct messages that were deleted, are not present, and were not chosen
	// Recoverable is how many of the lost messages were present together after commit Commit,
	// the latest moment with the most of them. Commit+1 was the first to delete some of these.
	Recoverable int
	Commit      uint64
}

// WorthReporting reports whether that moment has more messages than there are now.
func (g *Deletions) WorthReporting() bool { return g.Recoverable > g.Live }

// Deletions finds the moment at which most of the deleted messages were still present, among
// the mailboxes that a selection covers, deleted ones included. Messages that sel restores do
// not count as lost (sel may be nil). It reads every record of these mailboxes.
func (s *Source) Deletions(o Options, sel *Selection) (*Deletions, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.newChooser(&o)
	if err != nil {
		return nil, err
	}
	l := &losses{c: c, at: map[cyrus.GUID]span{}}
	for _, m := range c.boxes {
		if head := (cyrus.Mailbox{Type: textField(m, "MBOXTYPE")}); m.MovedTo == "" && !head.Deleted() && o.concerns(m.Name) {
			l.boxes = append(l.boxes, &chosen{state: m, gone: c.goneAt(m)})
		}
	}
	if err := l.deleted(); err != nil {
		return nil, err
	}
	if err := l.kept(sel); err != nil {
		return nil, err
	}
	return l.most(), nil
}

// concerns reports whether a mailbox was asked for. name is its name before it was deleted.
func (o *Options) concerns(name string) bool {
	if o.All {
		return true
	}
	name = o.own().Target(name)
	for _, word := range o.Objects {
		for _, meant := range o.AdminForm.Candidates(word) {
			if recognise(word) == isName && (name == meant || o.Recursive && isBelow(name, meant)) {
				return true
			}
		}
	}
	return false
}

// span is the range of commits that had a message: from the commit that added it
// to the one before the commit that deleted it last.
type span struct{ from, to uint64 }

// losses collects the deleted messages.
type losses struct {
	c     *chooser
	boxes []*chosen
	at    map[cyrus.GUID]span
	left  int
}

func (l *losses) deleted() error {
	for _, h := range l.boxes {
		for r, err := range l.c.src.mem.Records(h.state.UniqueID, 0) {
			if err != nil {
				return err
			}
			m := l.c.src.message(r)
			by := r.Commit // the last commit of an expunged record expunged it
			switch {
			case !m.Deleted && h.gone == 0:
				continue
			case !m.Deleted:
				by = h.state.Commit
			}
			if err := l.lose(m.GUID, by); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *losses) lose(g cyrus.GUID, by uint64) error {
	held, err := l.c.src.mem.Message(g)
	if err != nil || held == nil || held.Missing || by == 0 {
		return err
	}
	if was, ok := l.at[g]; !ok || by-1 > was.to {
		// First seen after the deletion: the message was uploaded again. It existed before that.
		l.at[g] = span{min(held.Commit, by-1), by - 1}
	}
	return nil
}

// kept removes messages that are live or chosen.
func (l *losses) kept(sel *Selection) error {
	for _, h := range l.boxes {
		if h.gone != 0 {
			continue
		}
		err := l.c.each(h, func(m *Message) error {
			if !m.Deleted {
				delete(l.at, m.GUID)
				l.left++
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if sel == nil || len(l.at) == 0 {
		return nil
	}
	for _, f := range sel.Folders {
		for _, ref := range f.Messages {
			r, err := l.c.src.mem.Record(l.c.src.boxes[ref.box], ref.UID)
			if err != nil {
				return err
			}
			if r != nil {
				delete(l.at, r.GUID)
			}
		}
	}
	return nil
}

// most finds the latest commit after which the most lost messages were present.
func (l *losses) most() *Deletions {
	g := &Deletions{Live: l.left, Lost: len(l.at)}
	change := map[uint64]int{}
	for _, s := range l.at {
		change[s.from]++
		change[s.to+1]--
	}
	commits := slices.Sorted(maps.Keys(change))
	now := 0
	for i, n := range commits {
		if now += change[n]; now > 0 && now >= g.Recoverable && i+1 < len(commits) {
			g.Recoverable, g.Commit = now, commits[i+1]-1
		}
	}
	return g
}
