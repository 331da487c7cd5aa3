package csync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/replication/client"
)

// settle compares the checksums of a new mailbox. If they differ, it finds the messages that the
// server changed, sends them again, which can help because the server updates field by field, and
// reports the remaining differences.
func (w *work) settle(ctx context.Context) error {
	if w.there == nil || w.crc.Equal(w.there.SyncCRC, w.there.SyncCRCAnnot) {
		return nil
	}
	differ, err := w.differing(ctx)
	if err != nil || len(differ) == 0 {
		return err
	}
	var again []*restore.Message
	for _, p := range differ {
		again = append(again, p.sent)
	}
	var refused *client.RefusedError
	err = w.apply(ctx, with(w.head, dlist.P("LAST_UID", dlist.N(uint64(w.final)))), again)
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	if differ, err = w.differing(ctx); err != nil {
		return err
	}
	var lost losses
	for _, p := range differ {
		for _, what := range p.differences() {
			lost.add(p.sent.UID, "changed by the server: "+what)
		}
	}
	w.report(lost)
	return nil
}

// pair is a sent message and the record that the server stored for it.
type pair struct {
	sent *restore.Message
	has  *cyrus.Record
}

// differences describes what the server changed.
func (p *pair) differences() []string {
	var out []string
	add := func(what string, sent, has any) {
		if fmt.Sprint(sent) != fmt.Sprint(has) {
			out = append(out, fmt.Sprintf("%s %v instead of %v", what, has, sent))
		}
	}
	add("date", date(p.sent.InternalDate), date(p.has.InternalDate))
	add("modseq", p.sent.ModSeq, p.has.ModSeq)
	add("time of the last change", date(p.sent.LastUpdated), date(p.has.LastUpdated))
	if !sameFlags(p.sent.Flags, p.has.Flags) {
		add("flags", p.sent.Flags, p.has.Flags)
	}
	for _, a := range p.sent.Annotations {
		if a.Value != nil && *a.Value != "" && !slices.ContainsFunc(p.has.Annotations, func(b cyrus.Annotation) bool { return sameAnnotation(&a, &b) }) {
			out = append(out, fmt.Sprintf("annotation %.100q", a.Entry))
		}
	}
	return out
}

func sameAnnotation(a, b *cyrus.Annotation) bool {
	return a.Entry == b.Entry && a.UserID == b.UserID && b.Value != nil && *a.Value == *b.Value
}

// differing lists the mailbox and returns the messages that differ from those sent.
func (w *work) differing(ctx context.Context) ([]*pair, error) {
	var out []*pair
	_, err := w.c.GetFullMailbox(ctx, w.f.Name, func(r *cyrus.Record) error {
		i := sort.Search(len(w.list), func(i int) bool { return w.list[i].UID >= r.UID })
		if i == len(w.list) || w.list[i].UID != r.UID {
			return nil
		}
		m, err := w.message(w.list[i])
		if err != nil || m.GUID != r.GUID || r.Expunged() {
			return err
		}
		if p := (&pair{m, r}); len(p.differences()) > 0 {
			out = append(out, p)
		}
		return nil
	})
	return out, err
}

// withNewUIDs tries to deliver messages with new uids that the server refused with their own.
func (w *work) withNewUIDs(ctx context.Context) error {
	var rest []refusedRef
	for _, r := range w.refused {
		m, err := w.message(r.Ref)
		if err != nil {
			return err
		}
		uid := m.UID
		w.fitting.exact = false
		if err := w.attempt(ctx, []restore.Ref{r.Ref}, w.putNew, true); err == nil {
			w.d.rep.Fail(fmt.Errorf("%s: uid %d (message %s): stored with a new uid and without keywords and annotations, because the server refuses them: %w", w.f.Name, uid, m.GUID, r.why))
			continue
		} else if err := w.c.survive(ctx, err); err != nil {
			return err
		}
		rest = append(rest, r)
	}
	w.refused = rest
	return w.reportRefused()
}
