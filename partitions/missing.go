package partitions

import (
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// asked is what the index keeps under AskedKey: of a mailbox that lacks bodies because
// the source could not read them, or whose CRCs are not the source's, when the client was
// last made to send it whole.
type asked struct {
	Missing int       `json:"missing"`          // bodies
	At      time.Time `json:"at"`               // for these
	Unequal time.Time `json:"unequal,omitzero"` // for the CRCs; zero = they are equal
}

func (s *indexState) asked(uniqueid string) (a asked, err error) {
	_, err = s.get(index.AskedKey(s.id, uniqueid), &a)
	return a, err
}

func (s *indexState) putAsked(uniqueid string, a asked) error {
	k := index.AskedKey(s.id, uniqueid)
	if a.Missing == 0 && a.Unequal.IsZero() {
		return s.t.Delete(k)
	}
	return s.put(k, a)
}

// note changes what the index keeps under AskedKey.
func (u *mailboxUpdate) note(change func(*asked)) error {
	return u.b.set.index.Update(func(t *index.Txn) error {
		st := &indexState{set: u.b.set, t: t, id: u.b.entry.ID, path: u.b.path, part: u.b.part}
		was, err := st.asked(u.mb.UniqueID)
		if err != nil {
			return err
		}
		is := was
		if change(&is); is == was {
			return nil
		}
		return st.putAsked(u.mb.UniqueID, is)
	})
}

// noteMissing notes how many bodies the mailbox lacks after this update.
func (u *mailboxUpdate) noteMissing() error {
	return u.note(func(a *asked) {
		if a.Missing == 0 && u.missing > 0 {
			a.At = u.b.set.opt.Now()
		}
		if u.complete {
			a.Missing = 0
		}
		a.Missing += u.missing
	})
}

// askAgain says whether a mailbox that lacks bodies is to be reported as empty, so
// that the client tries to send them once more. Once in MissingRetry is enough: the
// whole mailbox comes with them. Until it does it is empty in every answer: a client
// of 3.12 asks for all mailboxes twice, and believes the second answer.
func (x *Session) askAgain(st *indexState, h *heldBackup, m *history.MailboxState) (bool, error) {
	if h.asked[m.UniqueID] {
		return true, nil
	}
	a, err := st.asked(m.UniqueID)
	now := x.set.opt.Now()
	if err != nil || a.Missing == 0 || now.Sub(a.At) < x.set.opt.MissingRetry {
		return false, err
	}
	a.At = now
	h.asked[m.UniqueID] = true
	return true, x.set.index.Update(func(t *index.Txn) error {
		return (&indexState{set: x.set, t: t, id: st.id, path: st.path, part: st.part}).putAsked(m.UniqueID, a)
	})
}

// findMissing notes after a rebuild which mailboxes lack bodies.
func (b *Backup) findMissing() error {
	lacking := map[string]int{}
	err := b.view(func(st *indexState) error {
		missing, err := st.missingMessages()
		if err != nil || len(missing) == 0 {
			return err
		}
		for m, err := range st.Mailboxes() {
			if err != nil {
				return err
			}
			for r, err := range st.Records(m.UniqueID, 0) {
				if err != nil {
					return err
				}
				if missing[r.GUID] && r.Expunged == 0 {
					lacking[m.UniqueID]++
				}
			}
		}
		return nil
	})
	if err != nil || len(lacking) == 0 {
		return err
	}
	return b.set.index.Update(func(t *index.Txn) error {
		st := &indexState{set: b.set, t: t, id: b.entry.ID, path: b.path, part: b.part}
		for u, n := range lacking {
			if err := st.putAsked(u, asked{Missing: n}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *indexState) missingMessages() (map[cyrus.GUID]bool, error) {
	missing := map[cyrus.GUID]bool{}
	for kv, err := range s.t.Scan(index.MessageKey(s.id, nil), nil) {
		if err != nil {
			return nil, err
		}
		var m history.MessageState
		if err := m.UnmarshalJSON(kv.Value); err != nil {
			return nil, err
		}
		if m.Missing {
			missing[m.GUID] = true
		}
	}
	return missing, nil
}
