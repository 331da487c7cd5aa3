package verify

import (
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// mailboxes recounts every mailbox, and checks that each live record has its message.
func (w *verifier) mailboxes(m *history.Mem) error {
	w.step("checking the mailboxes")
	for box, err := range m.Mailboxes() {
		if err != nil {
			return err
		}
		w.done.Mailboxes++
		n, err := history.Recount(m, box.UniqueID)
		if err != nil {
			return w.damage(box.Name, err)
		}
		if n.Records != box.Records || n.Live != box.Live || n.CRC != box.CRC {
			w.problem(Problem{Object: box.Name, Text: fmt.Sprintf("%d records, %d of them live, with CRC %d; expected %d, %d and %d",
				n.Records, n.Live, n.CRC.Basic, box.Records, box.Live, box.CRC.Basic)})
		}
		if err := w.records(m, box); err != nil {
			return err
		}
	}
	return nil
}

func (w *verifier) records(m *history.Mem, box *history.MailboxState) error {
	for r, err := range m.Records(box.UniqueID, 0) {
		if err != nil {
			return err
		}
		if r.Expunged != 0 || !box.Deleted.IsZero() {
			continue
		}
		msg, err := m.Message(r.GUID)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%s: uid %d: message %s", box.Name, r.UID, r.GUID)
		switch {
		case msg == nil:
			w.diagnosis.unknown(r.GUID, int64(r.Size))
			w.problem(Problem{Object: name, Text: "not in the backup"})
		case msg.Missing:
			w.problem(Problem{Object: name, Text: "the body is missing: the mail server could not read it, or it was lost here; the next sync asks for it", Missing: true})
		case msg.Size != int64(r.Size):
			w.diagnosis.resync(box.UniqueID)
			w.problem(Problem{Object: name, Text: fmt.Sprintf("%d bytes, but the record has %d", msg.Size, r.Size)})
		}
	}
	return nil
}
