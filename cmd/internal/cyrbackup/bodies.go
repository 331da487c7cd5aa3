package cyrbackup

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// bodiesAtOnce is how many messages are read as one list: enough for a few packs.
const bodiesAtOnce = 8192

// bodies reads messages in the order of their records, which is nearly that of the packs.
type bodies struct {
	c    *command
	out  *lines
	src  *restore.Source
	next []cyrus.GUID
	seen *history.MessageSet // a message can be in several mailboxes
}

// jsonBodies reads every live message from the bucket and prints the result.
func jsonBodies(c *command) error {
	seen, err := c.mem.NewMessageSet()
	if err != nil {
		return err
	}
	b := bodies{
		c: c, out: &lines{w: c.out}, seen: seen,
		src: restore.NewSource(c.mem, history.NewObjects(c.found.Partition.Store, 0)),
	}
	for m, err := range c.mem.Mailboxes() {
		if err == nil && m.Deleted.IsZero() {
			err = b.mailbox(m.UniqueID)
		}
		if err != nil {
			return err
		}
	}
	return b.read()
}

// mailbox reads the live messages of a mailbox.
func (b *bodies) mailbox(uniqueid string) error {
	for r, err := range b.c.mem.Records(uniqueid, 0) {
		if err != nil {
			return err
		}
		if r.Expunged != 0 || !b.seen.Add(r.GUID) {
			continue
		}
		if b.next = append(b.next, r.GUID); len(b.next) < bodiesAtOnce {
			continue
		}
		if err := b.read(); err != nil {
			return err
		}
	}
	return nil
}

// read reads and prints the messages in next. Messages without a body are left out.
func (b *bodies) read() error {
	for l := range b.src.LoadAll(b.c.ctx, b.next) {
		switch {
		case errors.Is(l.Err, restore.ErrNotHeld), errors.As(l.Err, new(*history.ErasedError)):
			continue
		case l.Err != nil:
			return l.Err
		}
		if err := b.print(l); err != nil {
			return err
		}
	}
	b.next = b.next[:0]
	return b.out.err
}

func (b *bodies) print(l restore.Loaded) error {
	defer l.Body.Close()
	sum := sha1.New()
	n, err := io.Copy(sum, l.Body)
	if err == nil {
		b.out.line(map[string]any{"guid": l.GUID.String(), "size": n, "sha1": hex.EncodeToString(sum.Sum(nil))})
	}
	return err
}
