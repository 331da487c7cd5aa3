package partitions

import (
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// Asked is the value of index.AskedKey. It records when the client was last asked to send a
// whole mailbox. It exists for a mailbox that lacks bodies because the source could not read
// them, and for a mailbox whose CRCs differ from the CRCs of the source.
type Asked struct {
	Missing int       `json:"missing"`          // number of missing bodies
	At      time.Time `json:"at"`               // when the client was asked for them
	Unequal time.Time `json:"unequal,omitzero"` // when the client was asked because of the CRCs; zero = equal
}

// SeekAsked makes Asked cheap for many mailboxes: Asked then looks up nothing if no mailbox has
// one. The transaction may not write.
func (s *State) SeekAsked() error {
	for _, err := range s.t.Keys(index.AskedKey(s.id, ""), nil, 1) {
		return err // there is one
	}
	s.noneAsked = true
	return nil
}

// Asked returns the Asked of a mailbox. It returns the zero value if there is none.
func (s *State) Asked(uniqueid string) (Asked, error) {
	if s.noneAsked {
		return Asked{}, nil
	}
	var a Asked
	_, err := s.get(index.AskedKey(s.id, uniqueid), &a)
	return a, err
}

func (s *State) putAsked(uniqueid string, a Asked) error {
	k := index.AskedKey(s.id, uniqueid)
	if a.Missing == 0 && a.Unequal.IsZero() {
		return s.t.Delete(k)
	}
	return s.put(k, a)
}

// NoteAsked changes the Asked of a mailbox. The caller holds the commit mutex.
func (b *Backup) NoteAsked(uniqueid string, change func(*Asked)) error {
	return b.set.index.Update(func(t *index.Txn) error {
		st := b.stateIn(t)
		was, err := st.Asked(uniqueid)
		if err != nil {
			return err
		}
		is := was
		if change(&is); is == was {
			return nil
		}
		return st.putAsked(uniqueid, is)
	})
}

// findMissing records, after a rebuild, which mailboxes lack bodies.
func (b *Backup) findMissing() error {
	lacking := map[string]int{}
	err := b.View(func(st *State) error {
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
		st := b.stateIn(t)
		for u, n := range lacking {
			if err := st.putAsked(u, Asked{Missing: n}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Lacks reports whether a mailbox has a message without a body. Asked.Missing may be too large:
// another host may have received the bodies.
func (s *State) Lacks(uniqueid string) (bool, error) {
	var m history.MessageState
	for r, err := range s.Records(uniqueid, 0) {
		if err != nil {
			return false, err
		}
		if r.Gone || r.Expunged != 0 {
			continue
		}
		there, err := s.message(r.GUID, &m)
		if err != nil || !there || m.Missing {
			return err == nil, err
		}
	}
	return false, nil
}

func (s *State) missingMessages() (map[cyrus.GUID]bool, error) {
	missing := map[cyrus.GUID]bool{}
	for kv, err := range s.t.Range(index.MessageKey(s.id, nil), nil) {
		if err != nil {
			return nil, err
		}
		if indexvalue.MessageMissing(kv.Value) {
			missing[index.GUIDOf(kv.Key)] = true
		}
	}
	return missing, nil
}
