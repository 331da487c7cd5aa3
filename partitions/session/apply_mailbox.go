package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// ApplyMailbox commits the head of a mailbox and its records.
//
// The records are a delta against the state that this connection reported for the mailbox, or
// the complete set if it reported nothing. A head older than ours means that the source is not
// the one we know (it was restored). The mailbox then goes into resync, and the client sends
// it whole (design.md, promise 9).
func (x *Session) ApplyMailbox(ctx context.Context, mb *cyrus.Mailbox, since cyrus.Since, records iter.Seq2[*cyrus.Record, error]) (err error) {
	defer x.enter()(&err)
	records = recordsFromClient(records)
	ctx = x.set.Brief(ctx)
	n := x.set.NameOf(mb.Name)
	b, h, err := x.open(ctx, n)
	if err != nil {
		x.noteUseless(n, mb.Name, err)
		return err
	}
	if err := b.Begin(ctx); err != nil {
		return err
	}
	defer b.End()
	u := &mailboxUpdate{x: x, b: b, held: h, mb: mb, since: since}
	if err := u.run(ctx, records); err != nil {
		h.fresh = false
		return b.Failed(fmt.Errorf("mailbox %s: %w", mb.Name, err))
	}
	return nil
}

// mailboxUpdate is an APPLY MAILBOX in progress.
type mailboxUpdate struct {
	x     *Session
	b     *partitions.Backup
	held  *heldBackup
	mb    *cyrus.Mailbox
	since cyrus.Since
	from  *partitions.Backup // the mailbox moves from this backup; nil = the client sends it

	complete bool // the records are the complete set
	was      *history.MailboxState
	missing  int // live records without a body
}

func (u *mailboxUpdate) run(ctx context.Context, records iter.Seq2[*cyrus.Record, error]) error {
	if err := u.b.ViewOrNone(u.look); err != nil {
		return err
	}
	if reason := u.goesBack(); reason != "" {
		if err := drain(records); err != nil {
			return err
		}
		return u.resync(ctx, reason)
	}
	if err := u.b.Create(ctx, nil); err != nil {
		return err
	}
	d := newDraft(u)
	if err := d.gather(ctx, records); err != nil {
		return u.unknown(ctx, err)
	}
	if u.unchanged(d) {
		u.report()
		if u.complete {
			if err := u.noteMissing(); err != nil {
				return err
			}
		}
		// An earlier run may have committed this head but not the resync that it required.
		return u.compareCRC(ctx)
	}
	if err := d.commit(ctx); err != nil {
		return err
	}
	u.report()
	if err := u.noteMissing(); err != nil {
		return err
	}
	if err := u.compareCRC(ctx); err != nil {
		return err
	}
	u.x.endStaleCopies(ctx, u.b, u.mb.UniqueID)
	return nil
}

// look reads the current state of the mailbox and checks it against the state that the client
// assumes. st is nil while the backup does not exist.
func (u *mailboxUpdate) look(st *partitions.State) error {
	u.was = nil
	if st != nil {
		m, err := st.Mailbox(u.mb.UniqueID)
		if err != nil {
			return err
		}
		u.was = m
	}
	if u.x.importing {
		return nil
	}
	modSeq, reported := u.held.reported[u.mb.UniqueID]
	u.complete = !u.since.Set && (!reported || modSeq == 0)
	if u.since.Set {
		return u.checkSince()
	}
	return nil
}

// checkSince compares SINCE_* with our state before anything changes (imap/sync_support.c:
// sync_mailbox_compare_update). A CRC of 0 matches any CRC.
func (u *mailboxUpdate) checkSince() error {
	// A mailbox that ended with the former life belongs to the new person if the client still
	// sends it.
	gone := u.was != nil && !u.was.Deleted.IsZero() && !u.held.closed[u.mb.UniqueID]
	if u.was == nil || gone || u.was.Resync != "" {
		return fmt.Errorf("not reported, but the client believes it at modseq %d: %w", u.since.ModSeq, cyrus.ErrSyncChanged)
	}
	if m := modSeqOf(u.was); m != u.since.ModSeq {
		return fmt.Errorf("the mailbox is at modseq %d here, the client believes %d: %w", m, u.since.ModSeq, cyrus.ErrSyncChanged)
	}
	if u.x.force {
		return nil
	}
	basic, annot := reportedCRC(u.was)
	if !crcEqual(basic, u.since.CRC) || !crcEqual(annot, u.since.CRCAnnot) {
		return fmt.Errorf("the CRCs are %d/%d here, the client believes %d/%d: %w", basic, annot, u.since.CRC, u.since.CRCAnnot, cyrus.ErrSyncChanged)
	}
	return nil
}

func crcEqual(a, b uint32) bool { return a == 0 || b == 0 || a == b }

// goesBack returns the reason why the client's mailbox is older than ours, or "" if it is not.
// A complete set replaces our state, so it cannot go back.
func (u *mailboxUpdate) goesBack() string {
	if u.complete || u.was == nil || u.mb.Intermediate() || u.x.importing {
		return ""
	}
	for _, c := range []struct {
		what         string
		ours, theirs uint64
	}{
		{"HIGHESTMODSEQ", modSeqOf(u.was), u.mb.HighestModSeq},
		{"LAST_UID", number(u.was.Fields, "LAST_UID"), uint64(u.mb.LastUID)},
		{"UIDVALIDITY", number(u.was.Fields, "UIDVALIDITY"), uint64(u.mb.UIDValidity)},
	} {
		if c.theirs < c.ours {
			return fmt.Sprintf("the source went back: its %s is %d, ours was %d", c.what, c.theirs, c.ours)
		}
	}
	return ""
}

// unknown handles a delta with a message that we do not hold and that the client did not send
// because it believes that it sent it before. Our state is then from another time: for
// example, the source was set back and has reused the UIDs. The mailbox goes into resync, and
// the client sends it whole next time.
//
// With a scope, a message can be unknown although RESERVE has reported it as held: the backup that had it
// has lost it, or the login has sent it too long ago. The client is asked for it at the next attempt.
func (u *mailboxUpdate) unknown(ctx context.Context, err error) error {
	if u.x.fenced && u.complete && errors.Is(err, errUnknownMessage) {
		return fmt.Errorf("%s: the client is asked for it later: %w", err.Error(), cyrus.ErrLocked)
	}
	if !errors.Is(err, errUnknownMessage) || u.complete || u.was == nil || u.was.Resync != "" || u.x.importing {
		return err
	}
	reason := err.Error()
	if err := u.resync(ctx, reason); err != nil {
		return err
	}
	return fmt.Errorf("%s: the mailbox is asked for as a whole: %w", reason, cyrus.ErrLocked)
}

// resync records in the log that the mailbox differs from the source. The session no longer
// reports the mailbox, so that the client sends it whole.
func (u *mailboxUpdate) resync(ctx context.Context, reason string) error {
	u.x.log.Warn("mailbox goes into resync", "mailbox", u.mb.Name, "uniqueid", u.mb.UniqueID, "reason", reason)
	err := u.b.Change(ctx, u.x.who, func(st *partitions.State) ([]history.Event, error) {
		m, err := st.Mailbox(u.mb.UniqueID)
		if err != nil || m == nil || m.Resync != "" {
			return nil, err
		}
		return []history.Event{&history.ResyncEvent{UniqueID: u.mb.UniqueID, Reason: reason}}, nil
	})
	delete(u.held.reported, u.mb.UniqueID)
	return err
}

// report remembers that the client knows our state, because it has just sent it.
func (u *mailboxUpdate) report() {
	u.held.reported[u.mb.UniqueID] = u.mb.HighestModSeq
	u.held.sent[u.mb.UniqueID] = true
	delete(u.held.asked, u.mb.UniqueID)
}

// unchanged reports whether a commit would change nothing.
func (u *mailboxUpdate) unchanged(d *draft) bool {
	return u.was != nil && u.was.Deleted.IsZero() && u.was.Resync == "" && !d.changes &&
		(!u.complete || d.live == u.was.Live) && samePairs(u.was.Fields, u.mb.Fields)
}

// compareCRC compares the CRCs of our records with the client's. If they differ, the mailbox
// goes into resync and the client sends it whole. If they still differ after that, the
// source's own CRCs are wrong. We then accept its mailbox for MissingRetry, because otherwise
// every sync would send it whole.
func (u *mailboxUpdate) compareCRC(ctx context.Context) error {
	if u.mb.Intermediate() || u.x.importing {
		return nil
	}
	var is *history.MailboxState
	var a partitions.Asked
	err := u.b.View(func(st *partitions.State) (err error) {
		if is, err = st.Mailbox(u.mb.UniqueID); err != nil {
			return err
		}
		a, err = st.Asked(u.mb.UniqueID)
		return err
	})
	if err != nil || is == nil {
		return err
	}
	if is.CRC.Equal(u.mb.SyncCRC, u.mb.SyncCRCAnnot) {
		if a.Unequal.IsZero() {
			return nil
		}
		return u.b.NoteAsked(u.mb.UniqueID, func(a *partitions.Asked) { a.Unequal = time.Time{} })
	}
	basic, annot := reportedCRC(is)
	reason := fmt.Sprintf("the CRCs here are %d/%d, the source has %d/%d", basic, annot, u.mb.SyncCRC, u.mb.SyncCRCAnnot)
	now := u.x.clock()
	if now.Sub(a.Unequal) < u.x.set.Options().MissingRetry {
		u.x.log.Info("mailbox stays as the source has sent it", "mailbox", u.mb.Name, "uniqueid", u.mb.UniqueID, "reason", reason)
		return nil
	}
	if err := u.resync(ctx, reason); err != nil {
		return err
	}
	return u.b.NoteAsked(u.mb.UniqueID, func(a *partitions.Asked) { a.Unequal = now })
}

// drain discards the remaining records: the command must be read to its end.
func drain(records iter.Seq2[*cyrus.Record, error]) error {
	for _, err := range records {
		if err != nil {
			return err
		}
	}
	return nil
}

func modSeqOf(m *history.MailboxState) uint64 { return number(m.Fields, "HIGHESTMODSEQ") }

// number returns the value of a numeric field, or 0 if the field is missing. The value was
// checked when it arrived.
func number(fields []dlist.Pair, key string) uint64 {
	for _, f := range fields {
		if f.Key == key {
			n, err := dlist.ParseNum(key, f.Value.Str, math.MaxUint64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

var errUnknownMessage = errors.New("the message was neither uploaded nor is it held")
