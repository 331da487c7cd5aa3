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
// The records are a delta over what this connection reported of the mailbox, or,
// where it reported nothing, the complete set. A head older than ours
// means that the source is not the one we know (it was restored): the mailbox goes
// into resync, and the client will send it whole (design.md, promise 9).
func (x *Session) ApplyMailbox(ctx context.Context, mb *cyrus.Mailbox, since cyrus.Since, records iter.Seq2[*cyrus.Record, error]) (err error) {
	defer x.enter()(&err)
	records = recordsFromClient(records)
	ctx = x.set.Brief(ctx)
	b, h, err := x.open(ctx, x.set.NameOf(mb.Name))
	if err != nil {
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

// mailboxUpdate is one APPLY MAILBOX under way.
type mailboxUpdate struct {
	x     *Session
	b     *partitions.Backup
	held  *heldBackup
	mb    *cyrus.Mailbox
	since cyrus.Since
	from  *partitions.Backup // the backup that the mailbox moves from; nil = it comes from the client

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
		// The same head may have been committed before, and the resync that it called for not.
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

// look reads the state that the update is over, and checks that it is the state
// that the client assumes. st is nil while the backup is nowhere.
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

// checkSince compares SINCE_* with our state, before anything is changed
// (imap/sync_support.c: sync_mailbox_compare_update; a CRC of 0 matches any).
func (u *mailboxUpdate) checkSince() error {
	// One that ended with the former life, and comes nonetheless, is the new person's.
	gone := u.was != nil && !u.was.Deleted.IsZero() && !u.held.closed[u.mb.UniqueID]
	if u.was == nil || gone || u.was.Resync != "" {
		return fmt.Errorf("not reported, but the client believes it at modseq %d: %w", u.since.ModSeq, cyrus.ErrSyncChanged)
	}
	if m := modSeqOf(u.was); m != u.since.ModSeq {
		return fmt.Errorf("it is at modseq %d here, the client believes %d: %w", m, u.since.ModSeq, cyrus.ErrSyncChanged)
	}
	if u.x.force {
		return nil
	}
	basic, annot := reportedCRC(u.was)
	if !crcEqual(basic, u.since.CRC) || !crcEqual(annot, u.since.CRCAnnot) {
		return fmt.Errorf("its CRCs are %d/%d here, the client believes %d/%d: %w", basic, annot, u.since.CRC, u.since.CRCAnnot, cyrus.ErrSyncChanged)
	}
	return nil
}

func crcEqual(a, b uint32) bool { return a == 0 || b == 0 || a == b }

// goesBack returns why the client's mailbox is older than ours, "" if it is not. A
// complete set replaces whatever is here and cannot go back.
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

// unknown is for a delta with a message that is not held and did not come: the client thinks
// that it sent it before. The state here is of another time then, as when the source was set
// back and has used the UIDs again. The mailbox is sent whole next time.
func (u *mailboxUpdate) unknown(ctx context.Context, err error) error {
	if !errors.Is(err, errUnknownMessage) || u.complete || u.was == nil || u.was.Resync != "" || u.x.importing {
		return err
	}
	reason := err.Error()
	if err := u.resync(ctx, reason); err != nil {
		return err
	}
	return fmt.Errorf("%s: the mailbox is asked for as a whole: %w", reason, cyrus.ErrLocked)
}

// resync notes in the log that the mailbox is not the source's. It is no longer
// reported, so that the client sends it whole.
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

// report remembers that the client knows our state: it has just sent it.
func (u *mailboxUpdate) report() {
	u.held.reported[u.mb.UniqueID] = u.mb.HighestModSeq
	u.held.sent[u.mb.UniqueID] = true
	delete(u.held.asked, u.mb.UniqueID)
}

// unchanged reports that a commit would change nothing.
func (u *mailboxUpdate) unchanged(d *draft) bool {
	return u.was != nil && u.was.Deleted.IsZero() && u.was.Resync == "" && !d.changes &&
		(!u.complete || d.live == u.was.Live) && samePairs(u.was.Fields, u.mb.Fields)
}

// compareCRC compares the CRCs of our records with those of the client. Where
// the mailbox was sent whole because of that and they still differ, the source's own CRCs
// are wrong: for some time the source is believed nevertheless, or every sync would send it whole.
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

// drain reads records that are not wanted: the command has to be read to its end.
func drain(records iter.Seq2[*cyrus.Record, error]) error {
	for _, err := range records {
		if err != nil {
			return err
		}
	}
	return nil
}

func modSeqOf(m *history.MailboxState) uint64 { return number(m.Fields, "HIGHESTMODSEQ") }

// number is the value of a field, which was checked when it arrived; 0 if it is absent.
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
