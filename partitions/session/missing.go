package session

import (
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// noteMissing stores how many bodies the mailbox lacks after this update.
func (u *mailboxUpdate) noteMissing() error {
	return u.b.NoteAsked(u.mb.UniqueID, func(a *partitions.Asked) {
		if a.Missing == 0 && u.missing > 0 {
			a.At = u.x.clock()
		}
		if u.complete {
			a.Missing = 0
		}
		a.Missing += u.missing
	})
}

// askAgain reports whether a mailbox that lacks bodies should be reported as empty, so that
// the client tries to send them again. It does so only once per MissingRetry, because the
// client then sends the whole mailbox. Until the client has sent it, every answer reports the
// mailbox as empty: a 3.12 client asks for all mailboxes twice and believes the second answer.
func (x *Session) askAgain(st *partitions.State, b *partitions.Backup, h *heldBackup, m *history.MailboxState) (bool, error) {
	if h.asked[m.UniqueID] {
		return true, nil
	}
	a, err := st.Asked(m.UniqueID)
	now := x.clock()
	if err != nil || a.Missing == 0 || now.Sub(a.At) < x.set.Options().MissingRetry {
		return false, err
	}
	if lacks, err := st.Lacks(m.UniqueID); err != nil {
		return false, err
	} else if !lacks {
		return false, b.NoteAsked(m.UniqueID, func(a *partitions.Asked) { a.Missing = 0 })
	}
	h.asked[m.UniqueID] = true
	return true, b.NoteAsked(m.UniqueID, func(a *partitions.Asked) { a.At = now })
}
