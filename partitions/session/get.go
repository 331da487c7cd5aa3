package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// emit writes one untagged line of an answer. It does not keep the value.
type emit = func(key string, v dlist.Value) error

// GetUser reports everything that we hold of a user. The client does not send what is equal.
func (x *Session) GetUser(ctx context.Context, userid string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	out = toClient(out)
	n := repository.UserName(userid)
	x.keepOnly(map[repository.Name]bool{n: true})
	b, h, err := x.open(x.set.Brief(ctx), n)
	if err != nil {
		return err
	}
	clear(h.reported)
	clear(h.sent)
	clear(h.closed)
	h.compared = true
	if err := x.set.Settle(n); err != nil {
		return err
	}
	return b.Read(ctx, func(st *partitions.State) error {
		if err := st.SeekAsked(); err != nil {
			return err
		}
		for m, err := range st.EachMailbox() {
			if err != nil {
				return err
			}
			if err := x.reportMailbox(st, b, h, m, out); err != nil {
				return err
			}
		}
		if err := reportQuotas(st, out); err != nil {
			return err
		}
		return reportMeta(st, userid, out)
	})
}

// GetMeta reports seen state, subscriptions and scripts of a user.
func (x *Session) GetMeta(ctx context.Context, userid string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	out = toClient(out)
	b, _, err := x.open(x.set.Patient(ctx), repository.UserName(userid))
	if err != nil {
		return err
	}
	return b.Read(ctx, func(st *partitions.State) error { return reportMeta(st, userid, out) })
}

// GetMailboxes reports the named mailboxes that we hold, whoever owns them.
func (x *Session) GetMailboxes(ctx context.Context, names []string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	ctx = x.set.Brief(ctx)
	names, useless := x.within(names)
	reported := 0
	out = toClient(counted(out, &reported))
	wanted := map[repository.Name]bool{}
	for _, n := range names {
		wanted[x.set.NameOf(n)] = true
	}
	x.keepOnly(wanted)
	for _, name := range names {
		x.leaveNameless()
		n := x.set.NameOf(name)
		b, h, err := x.open(ctx, n)
		if err == nil {
			err = x.askUser(n)
		}
		if err != nil {
			return err
		}
		err = b.Read(ctx, func(st *partitions.State) error {
			m, err := st.MailboxByName(name)
			if err != nil || m == nil {
				return err
			}
			return x.reportMailbox(st, b, h, m, out)
		})
		if err != nil {
			return err
		}
	}
	if reported == 0 && useless != (repository.Name{}) {
		return x.allow(useless)
	}
	return nil
}

// counted counts the lines of an answer.
func counted(out emit, n *int) emit {
	return func(key string, v dlist.Value) error {
		*n++
		return out(key, v)
	}
}

// GetUniqueIDs reports mailboxes by uniqueid. It finds only those that the index knows.
func (x *Session) GetUniqueIDs(ctx context.Context, ids []string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	if err := x.limited(); err != nil {
		return err
	}
	out = toClient(out)
	for _, id := range ids {
		names, err := x.set.BackupsOf(id)
		if err != nil {
			return err
		}
		for _, n := range names {
			if !x.may(n) {
				continue // for this login it does not exist
			}
			b, h, err := x.open(x.set.Brief(ctx), n)
			if err != nil {
				return err
			}
			err = b.Read(ctx, func(st *partitions.State) error {
				m, err := st.Mailbox(id)
				if err != nil || m == nil {
					return err
				}
				return x.reportMailbox(st, b, h, m, out)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// GetFullMailbox reports a mailbox with all its records, including records that the client
// reported as expunged, because any other answer changes the source (client-behaviour.md 1).
// As in every answer, a mailbox in resync is reported as empty.
func (x *Session) GetFullMailbox(ctx context.Context, name string) (fields []dlist.Pair, records iter.Seq2[*cyrus.Record, error], err error) {
	defer x.enter()(&err)
	b, h, err := x.open(x.set.Patient(ctx), x.set.NameOf(name))
	if err != nil {
		return nil, nil, err
	}
	var m *history.MailboxState
	err = b.Read(ctx, func(st *partitions.State) (err error) {
		m, err = existing(st, name)
		return err
	})
	if err == nil && m == nil {
		_, err = existing(nil, name)
	}
	if err != nil {
		return nil, nil, err
	}
	if m.Resync != "" || h.asked[m.UniqueID] {
		h.reported[m.UniqueID] = 0
		return emptyFields(m), func(func(*cyrus.Record, error) bool) {}, nil
	}
	h.reported[m.UniqueID] = modSeqOf(m)
	records = func(yield func(*cyrus.Record, error) bool) {
		err := b.Read(ctx, func(st *partitions.State) error {
			for r, err := range st.Records(m.UniqueID, 0) {
				if err != nil {
					return err
				}
				if r.Gone {
					continue // the source no longer has it
				}
				if !yield(&r.Record, nil) {
					return errStop
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, x.judge(err))
		}
	}
	return mailboxFields(m), records, nil
}

var errStop = errors.New("stop")

// GetQuota reports the limits of a quota root.
func (x *Session) GetQuota(ctx context.Context, root string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	out = toClient(out)
	b, _, err := x.open(x.set.Patient(ctx), x.set.NameOf(root))
	if err != nil {
		return err
	}
	return b.Read(ctx, func(st *partitions.State) error {
		i, err := st.Item(history.ItemKey{Kind: "quota", A: root})
		if err != nil || i == nil || !i.Deleted.IsZero() {
			return err
		}
		return reportQuota(i, out)
	})
}

// GetAnnotation reports the annotations of a mailbox, or of the server ("").
func (x *Session) GetAnnotation(ctx context.Context, mailbox string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	out = toClient(out)
	b, _, err := x.open(x.set.Patient(ctx), x.set.NameOf(mailbox))
	if err != nil {
		return err
	}
	return b.Read(ctx, func(st *partitions.State) error {
		for i, err := range st.Items("annotation") {
			if err != nil {
				return err
			}
			e, ok := i.Event.(*history.AnnotationEvent)
			if !ok || !i.Deleted.IsZero() || e.Value == nil || e.Name != mailbox {
				continue
			}
			err := out("ANNOTATION", dlist.KV(
				dlist.P("MBOXNAME", dlist.S(e.Name)), dlist.P("ENTRY", dlist.S(e.Entry)),
				dlist.P("USERID", dlist.S(e.UserID)), dlist.P("VALUE", dlist.S(*e.Value))))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// GetFetch opens a message of a mailbox and reads it from the bucket.
func (x *Session) GetFetch(ctx context.Context, f cyrus.Fetch) (size int64, body io.ReadCloser, err error) {
	defer x.enter()(&err)
	ctx = x.set.Patient(ctx)
	b, _, err := x.open(ctx, x.set.NameOf(f.Name))
	if err != nil {
		return 0, nil, err
	}
	var m *history.MessageState
	err = b.Read(ctx, func(st *partitions.State) (err error) {
		if x.fenced {
			if named, err := names(st, f); !named || err != nil {
				return err
			}
		}
		m, err = st.Message(f.GUID)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	if m == nil || m.Missing {
		return 0, nil, fmt.Errorf("message %s of %s: %w", f.GUID, f.Name, cyrus.ErrNonexistent)
	}
	body, err = b.Open(ctx, m)
	return m.Size, body, b.Failed(err)
}

// names reports whether the mailbox has a record of the message.
func names(st *partitions.State, f cyrus.Fetch) (bool, error) {
	if st == nil {
		return false, nil
	}
	m, err := st.MailboxByName(f.Name)
	if m == nil || err != nil {
		return false, err
	}
	r, err := st.Record(m.UniqueID, f.UID)
	return r != nil && !r.Gone && r.GUID == f.GUID, err
}

// GetFetchSieve reports a script with its content.
func (x *Session) GetFetchSieve(ctx context.Context, userid, filename string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	out = toClient(out)
	b, _, err := x.open(x.set.Patient(ctx), repository.UserName(userid))
	if err != nil {
		return err
	}
	found := false
	err = b.Read(ctx, func(st *partitions.State) error {
		i, err := st.Item(history.ItemKey{Kind: "sieve", A: userid, B: filename})
		if err != nil || i == nil || !i.Deleted.IsZero() {
			return err
		}
		e, ok := i.Event.(*history.SieveEvent)
		if !ok {
			return nil
		}
		found = true
		return out("SIEVE", dlist.KV(
			dlist.P("USERID", dlist.S(userid)), dlist.P("FILENAME", dlist.S(filename)),
			dlist.P("LAST_UPDATE", dlist.S(strconv.FormatInt(e.LastUpdate, 10))), dlist.P("CONTENT", dlist.S(e.Content))))
	})
	if err == nil && !found {
		err = fmt.Errorf("script %s of %s: %w", filename, userid, cyrus.ErrNonexistent)
	}
	return err
}
