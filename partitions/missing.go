package partitions

import (
	"time"

	"backupd/index"
	"backupd/partitions/history"
	"backupd/replication/cyrus"
)

// asked is what the index keeps under AskedKey, for a mailbox that lacks bodies
// because the source could not read them.
type asked struct {
	Missing int       `json:"missing"`
	At      time.Time `json:"at"` // when the client was last made to send the mailbox whole
}

// noteMissing notes how many bodies the mailbox lacks after this update.
func (u *mailboxUpdate) noteMissing() error {
	return u.b.set.index.Update(func(t *index.Txn) error {
		st := &indexState{set: u.b.set, t: t, id: u.b.entry.ID, path: u.b.path, part: u.b.part}
		k := index.AskedKey(st.id, u.mb.UniqueID)
		var a asked
		had, err := st.get(k, &a)
		if err != nil {
			return err
		}
		switch {
		case u.complete && u.missing == 0 && had:
			return t.Delete(k)
		case u.missing == 0:
			return nil
		}
		if u.complete {
			a.Missing = u.missing
		} else {
			a.Missing += u.missing
		}
		if !had {
			a.At = u.b.set.opt.Now()
		}
		return st.put(k, a)
	})
}

// askAgain says whether a mailbox that lacks bodies is to be left out of an answer, so
// that the client tries to send them once more. Once in MissingRetry is enough: the
// whole mailbox comes with them.
func (x *Session) askAgain(st *indexState, m *history.MailboxState) (bool, error) {
	var a asked
	k := index.AskedKey(st.id, m.UniqueID)
	had, err := st.get(k, &a)
	now := x.set.opt.Now()
	if err != nil || !had || now.Sub(a.At) < x.set.opt.MissingRetry {
		return false, err
	}
	a.At = now
	return true, x.set.index.Update(func(t *index.Txn) error {
		return (&indexState{set: x.set, t: t, id: st.id, path: st.path, part: st.part}).put(k, a)
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
			if err := st.put(index.AskedKey(st.id, u), asked{Missing: n}); err != nil {
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
