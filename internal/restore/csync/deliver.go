package csync

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// put makes the server store messages that were uploaded.
type put func(ctx context.Context, msgs []*restore.Message) error

// deliverAll delivers the list batch by batch.
func (w *work) deliverAll(ctx context.Context, put put) error {
	defer w.ahead.end()
	batches := w.batches()
	for i, batch := range batches {
		w.next = nil
		if i+1 < len(batches) {
			w.next = batches[i+1]
		}
		if err := w.deliver(ctx, batch, put); err != nil {
			return err
		}
	}
	return nil
}

// deliver uploads messages and adds them to the mailbox. If the server refuses them, or crashes, it
// delivers them in halves until the odd message is alone, so that no other message is lost. That
// message is stored without keywords and annotations if that helps, and always reported.
func (w *work) deliver(ctx context.Context, refs []restore.Ref, put put) error {
	err := w.attempt(ctx, refs, put, false)
	if err == nil {
		return nil
	}
	w.next = nil // further attempts come first
	rest, err := w.afterFailure(ctx, refs, put, err)
	if err != nil {
		return err
	}
	if len(refs) > 1 {
		for _, half := range [][]restore.Ref{rest[:len(rest)/2], rest[len(rest)/2:]} {
			if len(half) == 0 {
				continue
			}
			if err := w.deliver(ctx, half, put); err != nil {
				return err
			}
		}
		return nil
	}
	return w.alone(ctx, rest, put)
}

// attempt delivers all messages or none.
func (w *work) attempt(ctx context.Context, refs []restore.Ref, put put, bare bool) error {
	msgs, err := w.upload(ctx, refs)
	if err != nil {
		return err
	}
	if bare {
		for _, m := range msgs {
			makeBare(m)
		}
	}
	if err := put(ctx, msgs); err != nil {
		return err
	}
	w.c.failed = 0
	w.done(msgs)
	return nil
}

// afterFailure decides whether delivery can continue after err, and with which messages: the
// server may have stored them before the connection broke.
func (w *work) afterFailure(ctx context.Context, refs []restore.Ref, put put, err error) ([]restore.Ref, error) {
	broken := w.c.Broken()
	if err := w.c.survive(ctx, err); err != nil {
		return nil, err
	}
	if broken {
		rest, err := w.notArrived(ctx, refs)
		if err != nil || len(rest) < len(refs) {
			return rest, err
		}
	}
	return refs, w.prove(ctx, put)
}

// prove tries, once, whether the server accepts the mailbox without messages. If it does not, no
// message is the cause.
func (w *work) prove(ctx context.Context, put put) error {
	if w.proven {
		return nil
	}
	w.proven = true
	err := put(ctx, nil)
	if err != nil && w.relax() {
		if err := w.c.survive(ctx, err); err != nil {
			return err
		}
		err = put(ctx, nil)
	}
	return err
}

// relax removes the mailbox's annotations, so that they can be set one by one later.
func (w *work) relax() bool {
	if _, ok := get(w.head, "ANNOTATIONS"); !ok || w.there != nil {
		return false
	}
	w.head = without(w.head, "ANNOTATIONS")
	return true
}

// alone delivers a single message that the server refused, at first as it is: the connection may have
// broken for another reason.
func (w *work) alone(ctx context.Context, ref []restore.Ref, put put) error {
	if len(ref) == 0 {
		return nil // the server has it
	}
	again := w.attempt(ctx, ref, put, false)
	if again == nil {
		return nil
	}
	ref, err := w.afterFailure(ctx, ref, put, again)
	if err != nil || len(ref) == 0 {
		return err
	}
	m, err := w.d.src.Message(ref[0])
	if err != nil {
		return err
	}
	why := w.attempt(ctx, ref, put, true)
	if why == nil {
		w.d.rep.Fail(fmt.Errorf("%s: uid %d (message %s): stored without keywords and annotations, because the server refuses them", w.f.Name, m.UID, m.GUID))
		return nil
	}
	if err := w.c.survive(ctx, why); err != nil {
		return err
	}
	w.refused = append(w.refused, refusedRef{ref[0], why})
	return nil
}

// refusedRef is a message that the server refused, and why.
type refusedRef struct {
	restore.Ref
	why error
}

// reportRefused reports the messages that the server refused in every form.
func (w *work) reportRefused() error {
	for _, r := range w.refused {
		m, err := w.d.src.Message(r.Ref)
		if err != nil {
			return err
		}
		w.d.rep.Fail(fmt.Errorf("%s: uid %d (message %s): the server refuses the message (--to eml:DIR writes it to a file): %w", w.f.Name, m.UID, m.GUID, r.why))
	}
	w.refused = nil
	return nil
}

// makeBare keeps only the data that every server accepts.
func makeBare(m *restore.Message) {
	m.Annotations, m.Extra = nil, nil
	var flags []string
	for _, f := range m.Flags {
		if isSystemFlag(f) {
			flags = append(flags, f)
		}
	}
	m.Flags = flags
}

// notArrived returns the messages of a delivery that the mailbox lacks, after the connection broke
// before the server's response.
func (w *work) notArrived(ctx context.Context, refs []restore.Ref) ([]restore.Ref, error) {
	boxes, err := w.c.GetMailboxes(ctx, []string{w.f.Name})
	if err != nil || len(boxes) == 0 || boxes[0].LastUID <= w.lastUID {
		return refs, err
	}
	have := newHolding()
	_, err = w.c.GetFullMailbox(ctx, w.f.Name, func(r *cyrus.Record) error {
		if r.UID <= w.lastUID {
			return nil
		}
		return have.add(r)
	})
	if err != nil {
		return nil, err
	}
	var rest []restore.Ref
	for _, ref := range refs {
		m, err := w.d.src.Message(ref)
		if err != nil {
			return nil, err
		}
		if have.live[m.GUID] == 0 {
			rest = append(rest, ref)
			continue
		}
		have.live[m.GUID]--
		w.d.rep.Added(1, int64(m.Size))
	}
	w.lastUID = boxes[0].LastUID
	return rest, nil
}
