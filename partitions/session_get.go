package partitions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// emit takes one untagged line of an answer.
type emit = func(key string, v dlist.Value) error

// GetUser reports all that is held of a user: what the client finds equal it does not send.
func (x *Session) GetUser(ctx context.Context, userid string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	out = toClient(out)
	n := repository.UserName(userid)
	x.keepOnly(map[repository.Name]bool{n: true})
	b, h, err := x.open(x.set.brief(ctx), n)
	if err != nil {
		return err
	}
	clear(h.reported)
	clear(h.brought)
	clear(h.closed)
	h.compared = true
	if err := x.settled(n); err != nil {
		return err
	}
	return b.read(ctx, func(st *indexState) error {
		for m, err := range st.Mailboxes() {
			if err != nil {
				return err
			}
			if err := x.reportMailbox(st, h, m, out); err != nil {
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
	b, _, err := x.open(x.set.patient(ctx), repository.UserName(userid))
	if err != nil {
		return err
	}
	return b.read(ctx, func(st *indexState) error { return reportMeta(st, userid, out) })
}

// GetMailboxes reports those of the named mailboxes that are held, of whichever user.
func (x *Session) GetMailboxes(ctx context.Context, names []string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	out = toClient(out)
	ctx = x.set.brief(ctx)
	wanted := map[repository.Name]bool{}
	for _, n := range names {
		wanted[x.set.NameOf(n)] = true
	}
	x.keepOnly(wanted)
	for _, name := range names {
		n := x.set.NameOf(name)
		b, h, err := x.open(ctx, n)
		if err == nil {
			err = x.askUser(n)
		}
		if err != nil {
			return err
		}
		err = b.read(ctx, func(st *indexState) error {
			m, err := st.MailboxByName(name)
			if err != nil || m == nil {
				return err
			}
			return x.reportMailbox(st, h, m, out)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// GetUniqueIDs reports mailboxes by their uniqueids, as far as the index knows them.
func (x *Session) GetUniqueIDs(ctx context.Context, ids []string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	out = toClient(out)
	for _, id := range ids {
		names, err := x.set.backupsOf(id)
		if err != nil {
			return err
		}
		for _, n := range names {
			b, h, err := x.open(x.set.brief(ctx), n)
			if err != nil {
				return err
			}
			err = b.read(ctx, func(st *indexState) error {
				m, err := st.Mailbox(id)
				if err != nil || m == nil {
					return err
				}
				return x.reportMailbox(st, h, m, out)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// backupsOf are the backups in which the mailbox with this uniqueid lives.
func (s *Set) backupsOf(uniqueid string) (names []repository.Name, err error) {
	err = s.index.View(func(t *index.Txn) error {
		prefix := index.UniqueIDPrefix(uniqueid)
		for k, err := range t.Keys(prefix, nil, 100) {
			if err != nil {
				return err
			}
			e, err := s.readEntry(string(k[len(prefix):]))
			if err != nil {
				return err
			}
			if e != nil {
				names = append(names, repository.Name{Kind: e.Kind, Full: e.Name})
			}
		}
		return nil
	})
	return names, err
}

// GetFullMailbox reports a mailbox with all its records, those included that it was
// told are expunged: an answer that is not exactly so changes the source
// (client-behaviour.md 1). A mailbox in resync is empty here as in every answer.
func (x *Session) GetFullMailbox(ctx context.Context, name string) (fields []dlist.Pair, records iter.Seq2[*cyrus.Record, error], err error) {
	defer x.enter()(&err)
	b, h, err := x.open(x.set.patient(ctx), x.set.NameOf(name))
	if err != nil {
		return nil, nil, err
	}
	var m *history.MailboxState
	err = b.read(ctx, func(st *indexState) (err error) {
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
		err := b.read(ctx, func(st *indexState) error {
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
	b, _, err := x.open(x.set.patient(ctx), x.set.NameOf(root))
	if err != nil {
		return err
	}
	return b.read(ctx, func(st *indexState) error {
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
	b, _, err := x.open(x.set.patient(ctx), x.set.NameOf(mailbox))
	if err != nil {
		return err
	}
	return b.read(ctx, func(st *indexState) error {
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

// GetFetch opens a message of a mailbox, from the bucket.
func (x *Session) GetFetch(ctx context.Context, f cyrus.Fetch) (size int64, body io.ReadCloser, err error) {
	defer x.enter()(&err)
	ctx = x.set.patient(ctx)
	b, _, err := x.open(ctx, x.set.NameOf(f.Name))
	if err != nil {
		return 0, nil, err
	}
	var m *history.MessageState
	err = b.read(ctx, func(st *indexState) (err error) {
		m, err = st.Message(f.GUID)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	if m == nil || m.Missing {
		return 0, nil, fmt.Errorf("message %s of %s: %w", f.GUID, f.Name, cyrus.ErrNonexistent)
	}
	body, err = b.openMessage(ctx, m)
	return m.Size, body, x.set.errf(b, err)
}

// openMessage streams a message that the backup knows.
func (b *Backup) openMessage(ctx context.Context, m *history.MessageState) (io.ReadCloser, error) {
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	places, err := b.places(m)
	b.end()
	if err != nil {
		return nil, b.set.errf(b, err)
	}
	return b.part.openMessage(ctx, m, places)
}

// places is where the chunks of a message lie. The turn is held.
func (b *Backup) places(m *history.MessageState) (map[history.ChunkID]history.Place, error) {
	places := map[history.ChunkID]history.Place{}
	err := b.view(func(st *indexState) error {
		for _, c := range m.Chunks {
			p, err := st.place(c)
			if err != nil {
				return err
			}
			places[c] = p
		}
		return nil
	})
	return places, err
}

// GetFetchSieve reports a script with its content.
func (x *Session) GetFetchSieve(ctx context.Context, userid, filename string, out func(string, dlist.Value) error) (err error) {
	defer x.enter()(&err)
	out = toClient(out)
	b, _, err := x.open(x.set.patient(ctx), repository.UserName(userid))
	if err != nil {
		return err
	}
	found := false
	err = b.read(ctx, func(st *indexState) error {
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
