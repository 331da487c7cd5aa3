package restore

import (
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Gone is how a selection stands beside an earlier moment.
type Gone struct {
	Left int // messages that are there
	Lost int // different messages that were deleted, are not there, and were not chosen
	// Most of the lost ones were there at once after commit Moment: Then of them. Commit
	// Moment+1 was the first to delete some of these.
	Then   int
	Moment uint64
}

// Worth says that more could be brought back than is there.
func (g *Gone) Worth() bool { return g.Then > g.Left }

// Gone looks for the moment that has the most of what was deleted, among the mailboxes that
// a selection is about, deleted ones included. What sel brings, if it is not nil, is not
// lost. It reads all of their records.
func (s *Source) Gone(o Options, sel *Selection) (*Gone, error) {
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

// span is when a message was there: from the commit that brought it to the one before the
// commit that deleted it last.
type span struct{ from, to uint64 }

// losses gathers what was deleted.
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
			by := r.Commit // an expunged record was written last when it was expunged
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
		// Known later than deleted: it was sent again. It was there before it was deleted.
		l.at[g] = span{min(held.Commit, by-1), by - 1}
	}
	return nil
}

// kept takes out what is live, and what is chosen.
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
			r, err := l.c.src.mem.Record(ref.UniqueID, ref.UID)
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

// most finds the commit after which most of the lost messages were there; of several the last.
func (l *losses) most() *Gone {
	g := &Gone{Left: l.left, Lost: len(l.at)}
	change := map[uint64]int{}
	for _, s := range l.at {
		change[s.from]++
		change[s.to+1]--
	}
	commits := slices.Sorted(maps.Keys(change))
	now := 0
	for i, n := range commits {
		if now += change[n]; now > 0 && now >= g.Then && i+1 < len(commits) {
			g.Then, g.Moment = now, commits[i+1]-1
		}
	}
	return g
}
