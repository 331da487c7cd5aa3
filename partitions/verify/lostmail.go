package verify

import (
	"bufio"
	"fmt"
	"strconv"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/mailtext"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// mostLocated limits the unreadable messages that are held until their mailboxes are known. Beyond
// that, a problem has the GUID only: so many people do not look up one by one.
const mostLocated = 10000

// whereabouts is where an unreadable message is, for people.
type whereabouts struct {
	badBody
	mailbox string
	uid     uint32
	live    bool
	date    int64 // the internal date, in seconds since the epoch
	others  int   // further records
}

// hold keeps an unreadable message for reportBad. It returns false if there are too many.
func (w *verifier) hold(bad map[cyrus.GUID]*whereabouts, b badBody) bool {
	if len(bad) >= mostLocated {
		return false
	}
	bad[b.guid] = &whereabouts{badBody: b}
	return true
}

// locate finds the mailboxes of unreadable messages. A live record is preferred.
func locate(m *history.Mem, bad map[cyrus.GUID]*whereabouts) error {
	if len(bad) == 0 {
		return nil
	}
	for box, err := range m.Mailboxes() {
		if err != nil {
			return err
		}
		for r, err := range m.Records(box.UniqueID, 0) {
			if err != nil {
				return err
			}
			if at := bad[r.GUID]; at != nil {
				at.see(box, r)
			}
		}
	}
	return nil
}

// see notes a record of the message.
func (at *whereabouts) see(box *history.MailboxState, r *history.RecordState) {
	live := box.Deleted.IsZero() && r.Expunged == 0 && !r.Record.Expunged()
	if at.mailbox != "" {
		at.others++
		if at.live || !live {
			return
		}
	}
	at.mailbox, at.uid, at.live, at.date = box.Name, r.UID, live, r.InternalDate
}

// text describes the place in words; "" = no record names the message.
func (at *whereabouts) text() string {
	if at.mailbox == "" {
		return ""
	}
	s := fmt.Sprintf("%s uid %d", at.mailbox, at.uid)
	if !at.live {
		s += " (deleted)"
	}
	if at.others > 0 {
		s += " and " + english.Plural(at.others, "other record", "")
	}
	return s + ", delivered " + timespec.Text(time.Unix(at.date, 0))
}

// reportBad reports the unreadable messages, with their mailboxes and, as far as they can be read,
// their subjects.
func (w *verifier) reportBad(m *history.Mem, objects *history.Objects, bad map[cyrus.GUID]*whereabouts) {
	for _, g := range w.diagnosis.bodies {
		at := bad[g]
		if at == nil {
			continue
		}
		text := at.text()
		if subject := w.subject(m, objects, g); subject != "" {
			text += ", subject " + strconv.Quote(subject)
		}
		if text != "" {
			text = " (" + text + ")"
		}
		w.problem(Problem{Object: "message " + g.String(), Text: at.err.Error() + text})
	}
}

// subject returns the subject of a message whose beginning is readable; "" = it is not, or has none.
func (w *verifier) subject(m *history.Mem, objects *history.Objects, g cyrus.GUID) string {
	msg, err := m.Message(g)
	if err != nil || msg == nil || len(msg.Chunks) < 2 {
		return ""
	}
	body, err := history.OpenMessage(w.ctx, objects, msg, m.Places)
	if err != nil {
		return ""
	}
	defer body.Close()
	h, err := mailtext.ReadHeader(bufio.NewReader(body))
	if err != nil {
		return ""
	}
	return h.Text("subject")
}
