package cyrbackup

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"hash/maphash"
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

	// seen has hashes of GUIDs, because a message can be in several mailboxes. Two GUIDs of a
	// million have the same hash once in 37 million runs, and nobody can choose them: the seed
	// is random.
	seen map[uint64]struct{}
	seed maphash.Seed
}

// jsonBodies reads every live message from the bucket and prints the result.
func jsonBodies(c *command) error {
	b := bodies{
		c: c, out: &lines{w: c.out}, seen: map[uint64]struct{}{}, seed: maphash.MakeSeed(),
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
		h := maphash.Bytes(b.seed, r.GUID[:])
		if _, twice := b.seen[h]; twice || r.Expunged != 0 {
			continue
		}
		b.seen[h] = struct{}{}
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
		case errors.Is(l.Err, restore.ErrNotHeld):
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
