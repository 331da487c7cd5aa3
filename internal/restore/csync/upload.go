package csync

import (
	"context"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/replication/client"
)

const (
	// perBatch is the size of one MESSAGE (imap/sync_support.c, update_mailbox_once) and of the
	// MAILBOX after it. An interrupted restore loses at most that.
	perBatch = 1024
	// perUnit limits the bytes that a server stages for us before we send RESTART.
	perUnit = 256 << 20
)

// upload uploads the messages of a batch that the server lacks, and returns all that it has then.
// Messages that cannot be read from the bucket are reported and left out.
func (w *work) upload(ctx context.Context, batch []restore.Ref) ([]*restore.Message, error) {
	// Uploads belong to one partition; another partition needs its own.
	if w.c.size > perUnit || w.c.uploaded != nil && w.c.partition != w.partition {
		w.c.fresh()
		if err := w.c.Restart(ctx); err != nil {
			return nil, err
		}
	}
	if w.c.uploaded == nil {
		w.c.uploaded, w.c.partition = map[cyrus.GUID]bool{}, w.partition
	}
	msgs, want, err := w.wanted(batch)
	if err != nil {
		return nil, err
	}
	missing, err := w.reserve(ctx, want)
	if err != nil {
		return nil, err
	}
	if len(missing) < len(want) {
		w.next = nil // the server may have the next messages as well
	}
	bad, err := w.send(ctx, missing)
	if err != nil {
		return nil, err
	}
	return w.readable(msgs, bad), nil
}

// reserve returns the messages that have to be sent: all of them, if no mailbox can have any.
func (w *work) reserve(ctx context.Context, guids []cyrus.GUID) ([]cyrus.GUID, error) {
	names := w.d.names()
	if len(names) == 0 || len(guids) == 0 {
		return guids, nil
	}
	missing, err := w.c.Reserve(ctx, w.partition, names, guids)
	if err != nil {
		return nil, err
	}
	for _, g := range guids {
		w.c.uploaded[g] = true
	}
	for _, g := range missing {
		delete(w.c.uploaded, g)
	}
	return missing, nil
}

// send uploads messages; bad are the unreadable ones.
func (w *work) send(ctx context.Context, guids []cyrus.GUID) (bad map[cyrus.GUID]error, err error) {
	if len(guids) == 0 {
		return nil, nil
	}
	bad = map[cyrus.GUID]error{}
	_, err = w.c.ApplyMessages(ctx, func(yield func(client.Message, error) bool) {
		for l := range w.ahead.take(ctx, w.d.src, guids) {
			if l.Err != nil && l.Ends() {
				yield(client.Message{}, fmt.Errorf("reading the backup: %w", l.Err))
				return
			}
			if l.Err != nil {
				bad[l.GUID] = l.Err
				continue
			}
			more := yield(client.Message{Partition: w.partition, GUID: l.GUID, Size: l.Body.Size,
				Open: func() (io.ReadCloser, error) { return l.Body, nil }}, nil)
			if err := l.Body.Close(); err != nil {
				bad[l.GUID] = err
			}
			w.c.uploaded[l.GUID] = true
			w.c.size += l.Body.Size
			if !more {
				return
			}
		}
		w.readNext(ctx)
	})
	return bad, err
}

func (w *work) readable(msgs []*restore.Message, bad map[cyrus.GUID]error) []*restore.Message {
	out := msgs[:0]
	for _, m := range msgs {
		if err := bad[m.GUID]; err != nil {
			w.d.rep.Fail(fmt.Errorf("%s: uid %d: %w", w.f.Name, m.UID, err))
			continue
		}
		out = append(out, m)
	}
	return out
}

// done counts a batch that the server has acknowledged.
func (w *work) done(msgs []*restore.Message) {
	var size int64
	for _, m := range msgs {
		size += int64(m.Size)
	}
	w.d.rep.Added(len(msgs), size)
}
