package csync

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// append adds messages with new uids, and creates the mailbox if necessary.
func (w *work) append(ctx context.Context) error {
	if w.there == nil && len(w.list) == 0 {
		return w.putNew(ctx, nil)
	}
	if err := w.deliverAll(ctx, w.putNew); err != nil {
		return err
	}
	return w.reportRefused()
}

// putNew adds uploaded messages to the mailbox with new uids.
func (w *work) putNew(ctx context.Context, msgs []*restore.Message) error {
	number(msgs)
	if err := w.c.RestoreMailbox(ctx, w.restoreHead(), records(msgs), w.d.opt.Local); err != nil {
		return err
	}
	w.lastUID += uint32(len(msgs))
	if w.there == nil {
		return w.arrived(ctx)
	}
	return nil
}

// number gives the messages ascending uids, which the server requires and then replaces.
func number(msgs []*restore.Message) {
	for i, m := range msgs {
		m.UID = uint32(i + 1)
	}
}

// restoreHead returns the fields of RESTORE MAILBOX. Without uniqueid, modseq and uidvalidity the
// server chooses them.
func (w *work) restoreHead() []dlist.Pair {
	from := w.f.From.Fields
	head := []dlist.Pair{
		dlist.P("UNIQUEID", dlist.Value{}), dlist.P("MBOXNAME", dlist.S(w.f.Name)),
		dlist.P("HIGHESTMODSEQ", dlist.N(0)), dlist.P("UIDVALIDITY", dlist.N(0)),
		dlist.P("PARTITION", dlist.S(w.partition)), dlist.P("ACL", w.acl()),
	}
	for _, key := range []string{"MBOXTYPE", "OPTIONS"} {
		if v, ok := get(from, key); ok {
			head = append(head, dlist.P(key, v))
		}
	}
	if w.there != nil { // the type must match the server's; everything else is kept
		head = without(head, "MBOXTYPE", "OPTIONS", "ACL")
		if v, ok := get(w.there.Fields, "MBOXTYPE"); ok {
			head = append(head, dlist.P("MBOXTYPE", v))
		}
	}
	return head
}
