package imapdest

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// atOnce is how many messages one command fetches.
const atOnce = 500

// learnSums reads the messages of these sizes whose bytes are unknown.
//
// Some servers report wrong sizes: Exchange estimates them. Once for each account the smallest
// message is therefore read as well, and if any size is wrong, all messages are read.
func (s *session) learnSums(b *box, sizes ...int64) error {
	if s.sizes.asked.CompareAndSwap(false, true) {
		if small, ok := b.smallest(); ok {
			sizes = append(sizes, small)
		}
	}
	if s.sizes.wrong.Load() {
		sizes = slices.Collect(maps.Keys(b.bySize))
	}
	for chunk := range slices.Chunk(b.unread(sizes...), atOnce) {
		if err := s.sums(b, chunk); err != nil {
			return err
		}
	}
	if s.sizes.wrong.Load() && len(b.bySize) > 0 {
		return s.learnSums(b)
	}
	return nil
}

func (s *session) sums(b *box, list []int) error {
	uids, at := imap.UIDSet{}, map[imap.UID]int{}
	for _, i := range list {
		uids.AddNum(b.held[i].uid)
		at[b.held[i].uid] = i
	}
	return s.bodies(uids, func(uid imap.UID, d digest) error {
		i, asked := at[uid]
		if !asked {
			return nil
		}
		h := &b.held[i]
		if d.size != h.size {
			s.sizes.wrong.Store(true)
		}
		h.sum = d.sum
		b.bySum.put(d.sum, i)
		b.journal.add(h)
		return nil
	})
}

// bodies reads and hashes messages without keeping them in memory.
func (s *session) bodies(uids imap.UIDSet, each func(imap.UID, digest) error) error {
	cmd := s.c.Fetch(uids, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		var uid imap.UID
		var body *digest
		for item := m.Next(); item != nil; item = m.Next() {
			var err error
			switch item := item.(type) {
			case imapclient.FetchItemDataUID:
				uid = item.UID
			case imapclient.FetchItemDataBodySection:
				if item.Literal != nil {
					body, err = sumOf(item.Literal)
				}
			}
			if err != nil {
				return errors.Join(fmt.Errorf("read uid %d: %w", uid, err), cmd.Close())
			}
		}
		if uid == 0 || body == nil { // the server cannot read the message
			continue
		}
		if err := each(uid, *body); err != nil {
			return errors.Join(err, cmd.Close())
		}
	}
	return cmd.Close()
}

func sumOf(r io.Reader) (*digest, error) {
	h := sha1.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return nil, err
	}
	d := &digest{size: n}
	copy(d.sum[:], h.Sum(nil))
	return d, nil
}

// messageIDs returns short hashes of the Message-IDs of messages that match none of the backup.
func (s *session) messageIDs(b *box) (map[uint64]bool, error) {
	ids := map[uint64]bool{}
	uids := imap.UIDSet{}
	for i := range b.held {
		if !b.held[i].taken && b.held[i].guid == (cyrus.GUID{}) {
			uids.AddNum(b.held[i].uid)
		}
	}
	if len(uids) == 0 {
		return ids, nil
	}
	section := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Message-ID"}, Peek: true}
	cmd := s.c.Fetch(uids, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}})
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		got, err := m.Collect()
		if err != nil {
			return nil, errors.Join(err, cmd.Close())
		}
		for _, part := range got.BodySection {
			if id := messageID(part.Bytes); id != 0 {
				ids[id] = true
			}
		}
	}
	return ids, cmd.Close()
}
