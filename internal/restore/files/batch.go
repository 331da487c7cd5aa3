package files

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cyrusbackup/backupd/internal/restore"
)

const (
	// A batch of messages is written at a time.
	batchMessages = 64
	batchBytes    = 1 << 20
)

// delivery is a message to write, and why it was not written.
type delivery struct {
	*restore.Message
	body *restore.Body
	err  error
}

// only reports whether an error concerns a single message.
func only(err error) bool { return errors.Is(err, ErrExists) || errors.Is(err, ErrLink) }

// oneByOne writes the messages of a batch in order.
func oneByOne(batch []*delivery, write func(*delivery) error, done func(*delivery)) error {
	for _, m := range batch {
		if m.err = write(m); m.err == nil {
			done(m)
		} else if !only(m.err) {
			return m.err
		}
	}
	return nil
}

// sideBySide writes the messages of a batch from several goroutines. It returns the first error
// that concerns more than one message.
func sideBySide(batch []*delivery, write func(i int) error, done func(*delivery)) error {
	var next atomic.Int64
	var failed atomic.Bool
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(batch)) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(batch) && !failed.Load(); i = int(next.Add(1)) - 1 {
				m := batch[i]
				if m.err = write(i); m.err == nil {
					done(m)
				} else if !only(m.err) {
					failed.Store(true)
				}
			}
		})
	}
	all.Wait()
	for _, m := range batch {
		if m.err != nil && !only(m.err) {
			return m.err
		}
	}
	return nil
}

// write reads messages of a folder and writes them batch by batch.
func (d *Destination) write(ctx context.Context, s sink, f *restore.Folder, msgs iter.Seq[*restore.Message]) error {
	var batch []*delivery
	var size int64
	flush := func() error {
		err := d.flush(s, f, batch)
		batch, size = batch[:0], 0
		return err
	}
	for l := range d.src.LoadMessages(ctx, msgs) {
		if l.Err == nil {
			batch = append(batch, &delivery{Message: l.Message, body: l.Body})
			size += l.Body.Size
			if len(batch) < batchMessages && size < batchBytes {
				continue
			}
		}
		if err := flush(); err != nil {
			return err
		}
		if l.Err != nil && l.Ends() {
			return &ending{fmt.Errorf("reading the backup: %w", l.Err)}
		}
		if l.Err != nil {
			d.rep.Fail(fmt.Errorf("%s: uid %d: %w", f.Name, l.UID, l.Err))
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return ctx.Err()
}

// flush writes a batch and reports on its messages.
func (d *Destination) flush(s sink, f *restore.Folder, batch []*delivery) error {
	err := s.messages(batch, func(m *delivery) { d.rep.Added(1, m.body.Size) })
	for _, m := range batch {
		if closed := m.body.Close(); err == nil && m.err == nil {
			err = closed
		}
	}
	for _, m := range batch {
		switch {
		case only(m.err):
			d.rep.Fail(fmt.Errorf("%s: uid %d: %w", f.Name, m.UID, m.err))
		case err == nil && d.opt.Verbose > 1:
			d.rep.Say("  + uid %d %s", m.UID, m.GUID)
		}
	}
	return err
}
