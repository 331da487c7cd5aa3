package csync

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// exact restores a mailbox as replication would, a batch at a time. LAST_UID records the progress
// after each batch, so that an interrupted restore can continue.
func (w *work) exact(ctx context.Context) error {
	isNew := w.there == nil
	w.head = w.exactHead()
	w.final = uint32(num(w.head, "LAST_UID"))
	if n := len(w.list); n > 0 {
		w.end = w.list[n-1].UID
		w.final = max(w.final, w.end)
	}
	if isNew && w.owners.differ() {
		if err := w.createFor(ctx); err != nil {
			return err
		}
	}
	if err := w.deliverAll(ctx, w.putExact); err != nil {
		return err
	}
	if w.lastUID < w.final || len(w.list) == 0 {
		w.end, w.proven = 0, false
		if err := w.prove(ctx, w.putExact); err != nil {
			return err
		}
	}
	if err := w.arrived(ctx); err != nil {
		return err
	}
	if isNew {
		if err := w.settle(ctx); err != nil {
			return err
		}
	}
	return w.withNewUIDs(ctx)
}

// putExact adds uploaded messages to the mailbox with their uids. It leaves out the CRCs; settle
// compares them.
func (w *work) putExact(ctx context.Context, msgs []*restore.Message) error {
	last := w.lastUID
	if len(msgs) > 0 {
		last = msgs[len(msgs)-1].UID
	}
	if last >= w.end {
		last = w.final
	}
	fields := with(w.head, dlist.P("LAST_UID", dlist.N(uint64(last))))
	err := w.apply(ctx, fields, msgs)
	if errors.Is(err, cyrus.ErrMoved) && w.there == nil && !w.made {
		w.made = true
		if err = w.create(ctx, fields); err == nil {
			err = w.apply(ctx, fields, msgs)
		}
	}
	if err != nil {
		return err
	}
	w.lastUID = last
	for _, m := range msgs {
		w.crc.Add(&m.Record)
	}
	if zero := zeroDates(msgs); len(zero) > 0 {
		return w.apply(ctx, fields, zero)
	}
	return nil
}

func (w *work) apply(ctx context.Context, fields []dlist.Pair, msgs []*restore.Message) error {
	if w.d.opt.Local {
		return w.c.ApplyLocalMailbox(ctx, fields, cyrus.Since{}, records(msgs))
	}
	return w.c.ApplyMailbox(ctx, fields, cyrus.Since{}, records(msgs))
}

// create creates the mailbox with an empty RESTORE. Unlike APPLY MAILBOX, RESTORE accepts the
// uniqueid of a mailbox that was deleted and removed: APPLY mistakes the entry that the mailbox
// list keeps for a mailbox with another name.
func (w *work) create(ctx context.Context, head []dlist.Pair) error {
	return w.c.RestoreMailbox(ctx, without(head, "ANNOTATIONS", "LAST_UID"), records(nil), w.d.opt.Local)
}

// createFor creates the mailbox of a new owner with an empty RESTORE, because APPLY MAILBOX needs
// an ACL, and only the server knows the right one.
func (w *work) createFor(ctx context.Context) error {
	if err := w.create(ctx, with(w.head, dlist.P("ACL", dlist.Value{}))); err != nil {
		return err
	}
	boxes, err := w.c.GetMailboxes(ctx, []string{w.f.Name})
	if err != nil {
		return err
	}
	for _, m := range boxes {
		w.head = with(w.head, dlist.P("ACL", dlist.S(text(m.Fields, "ACL"))))
	}
	w.made = true
	return nil
}

// exactHead returns the fields of the mailbox. Zero CRCs disable the comparison, because they are
// known only when all records have been sent.
func (w *work) exactHead() []dlist.Pair {
	head := with(w.f.From.Fields,
		dlist.P("MBOXNAME", dlist.S(w.f.Name)),
		dlist.P("PARTITION", dlist.S(w.partition)),
		dlist.P("SYNC_CRC", dlist.N(0)), dlist.P("SYNC_CRC_ANNOT", dlist.N(0)))
	if w.there == nil {
		if num(head, "UIDVALIDITY") == 0 {
			head = with(head, dlist.P("UIDVALIDITY", dlist.N(uint64(time.Now().Unix()))))
		}
		// Another mailbox has the uniqueid, so this one gets a new one.
		if other := w.d.holder(w.f.From.UniqueID); other != nil {
			w.d.rep.Say("%s: gets a new uniqueid, because %s has %s", w.f.Name, other.Name, other.UniqueID)
			head = with(head, dlist.P("UNIQUEID", dlist.S(newUniqueID())))
		}
		return head
	}
	// Changes at the destination are kept.
	w.mergeAnnotations(&head)
	for _, key := range counters {
		if v, ok := get(w.there.Fields, key); ok && num(w.there.Fields, key) > num(head, key) {
			head = with(head, dlist.P(key, v))
		}
	}
	return with(head,
		dlist.P("ACL", dlist.S(text(w.there.Fields, "ACL"))),
		dlist.P("OPTIONS", dlist.S(text(w.there.Fields, "OPTIONS"))))
}

// counters are mailbox fields that only grow. The server accepts them as they are sent.
var counters = []string{"HIGHESTMODSEQ", "RECENTUID", "RECENTTIME", "LAST_APPENDDATE", "POP3_LAST_LOGIN", "POP3_SHOW_AFTER", "XCONVMODSEQ"}

// newUniqueID returns a random UUID, in Cyrus's format.
func newUniqueID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

func records(msgs []*restore.Message) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for _, m := range msgs {
			if !yield(&m.Record, nil) {
				return
			}
		}
	}
}

// arrived reads the new state of the mailbox from the server.
func (w *work) arrived(ctx context.Context) error {
	boxes, err := w.c.GetMailboxes(ctx, []string{w.f.Name})
	if err != nil {
		return err
	}
	for _, m := range boxes {
		w.d.know(m)
		w.there = m
		w.annotated = annotationsOf(m.Fields)
	}
	return nil
}

// intermediate restores a mailbox that exists only as part of its children's names. With new
// uniqueids the server creates it automatically.
func (w *work) intermediate(ctx context.Context) error {
	if w.there != nil || !w.d.opt.KeepUIDs || w.d.opt.DryRun || w.d.holder(w.f.From.UniqueID) != nil {
		return nil
	}
	return w.c.ApplyIntermediate(ctx, with(w.f.From.Fields, dlist.P("MBOXNAME", dlist.S(w.f.Name))))
}
