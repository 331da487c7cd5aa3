package csync

import (
	"context"

	"backupd/internal/restore"
	"backupd/replication/dlist"
)

// append brings messages with new uids, and the mailbox if it is not there.
func (w *work) append(ctx context.Context) error {
	batches := w.batches()
	if w.there != nil && len(batches) == 0 {
		return nil
	}
	for i := 0; i < max(1, len(batches)); i++ {
		var batch []restore.Ref
		if i < len(batches) {
			batch = batches[i]
		}
		msgs, err := w.upload(ctx, batch)
		if err != nil {
			return err
		}
		number(msgs)
		if err := w.c.RestoreMailbox(ctx, w.restoreHead(), records(msgs), w.d.opt.Local); err != nil {
			return err
		}
		w.done(msgs)
		if w.there == nil {
			if err := w.arrived(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// number gives the messages ascending uids, which the server insists on and replaces.
func number(msgs []*restore.Message) {
	for i, m := range msgs {
		m.UID = uint32(i + 1)
	}
}

// restoreHead are the fields of RESTORE MAILBOX. Without uniqueid, modseq and
// uidvalidity the server takes its own.
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
	if w.there != nil { // its type has to be the one there, everything else stays
		head = without(head, "MBOXTYPE", "OPTIONS", "ACL")
		if v, ok := get(w.there.Fields, "MBOXTYPE"); ok {
			head = append(head, dlist.P("MBOXTYPE", v))
		}
	}
	return head
}

func (w *work) acl() dlist.Value {
	switch {
	case w.d.opt.ACL == nil:
		return dlist.S(text(w.f.From.Fields, "ACL"))
	case *w.d.opt.ACL == "":
		return dlist.Value{}
	}
	return dlist.S(*w.d.opt.ACL)
}
