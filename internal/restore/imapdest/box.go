package imapdest

import (
	"errors"

	"github.com/emersion/go-imap/v2"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// held is a message in a folder at the server.
type held struct {
	uid   imap.UID
	size  int64      // as the server reports it
	date  int64      // seconds since the epoch
	guid  cyrus.GUID // GUID in the backup; zero = unknown
	sum   cyrus.GUID // SHA-1 of the bytes that the server returns; zero = unknown
	lacks []string   // flags that are still missing
	taken bool       // matched with a message of the backup
}

// box is a folder at the server.
type box struct {
	name     string
	journal  *journal
	keywords *keywords
	held     []held
	top      imap.UID // the highest uid seen
	byGUID   index[cyrus.GUID]
	bySum    index[cyrus.GUID] // messages without a guid
	bySize   index[int64]      // messages with neither guid nor sum
}

// index finds messages by a key. Several messages can have the same key.
type index[K comparable] map[K][]int32

// put adds a message.
func (x index[K]) put(k K, i int) { x[k] = append(x[k], int32(i)) }

// take removes a message and returns it.
func (x index[K]) take(k K) (int, bool) {
	l := x[k]
	if len(l) == 0 {
		return 0, false
	}
	if x[k] = l[1:]; len(l) == 1 {
		delete(x, k)
	}
	return int(l[0]), true
}

// open selects a folder and lists its messages.
func (s *session) open(name string) (*box, error) {
	data, err := s.c.Select(name, &imap.SelectOptions{ReadOnly: s.opt.DryRun}).Wait()
	if err != nil {
		return nil, err
	}
	b := &box{name: name, keywords: newKeywords(data), byGUID: index[cyrus.GUID]{}, bySum: index[cyrus.GUID]{}, bySize: index[int64]{}}
	of := folderLine{Account: s.at.account(), Folder: name, UIDValidity: data.UIDValidity}
	if b.journal, err = openJournal(s.opt.Journal, of, !s.opt.DryRun); errors.Is(err, errFolder) {
		return nil, err
	} else if err != nil {
		s.rep.Warn("%s: cannot use the journal; the next run has to compare messages: %v", name, err)
		if b.journal, err = openJournal("", of, false); err != nil {
			return nil, err
		}
	}
	if data.NumMessages > 0 {
		err = s.list(b)
	}
	b.journal.known = nil
	if err != nil {
		return nil, errors.Join(err, b.journal.close())
	}
	return b, nil
}

// list fetches the messages of the folder, and uses the journal's data where both agree.
func (s *session) list(b *box) error {
	cmd := s.c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true, InternalDate: true, RFC822Size: true})
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		got, err := m.Collect()
		if err != nil {
			return errors.Join(err, cmd.Close())
		}
		if got.UID != 0 {
			b.add(held{uid: got.UID, size: got.RFC822Size, date: got.InternalDate.Unix()})
		}
	}
	return cmd.Close()
}

func (b *box) add(h held) {
	if k := b.journal.known[h.uid]; k != nil && (k.size == 0 || k.size == h.size && k.date == h.date) {
		h.guid, h.sum, h.lacks = k.guid, k.sum, k.lacks
	}
	b.held = append(b.held, h)
	b.top = max(b.top, h.uid)
	i := len(b.held) - 1
	switch {
	case h.guid != cyrus.GUID{}:
		b.byGUID.put(h.guid, i)
	case h.sum != cyrus.GUID{}:
		b.bySum.put(h.sum, i)
	default:
		b.bySize.put(h.size, i)
	}
}

// takeByGUID returns a message that is known to be this one of the backup.
func (b *box) takeByGUID(guid cyrus.GUID) *held {
	i, ok := b.byGUID.take(guid)
	if !ok {
		return nil
	}
	return b.match(i)
}

// takeBySum returns a message with these bytes whose GUID is unknown, and records the GUID.
func (b *box) takeBySum(sum, guid cyrus.GUID) *held {
	i, ok := b.bySum.take(sum)
	if !ok {
		return nil
	}
	h := b.match(i)
	h.guid = guid
	h.lacks = b.journal.sent[guid]
	delete(b.journal.sent, guid)
	b.journal.add(h)
	return h
}

func (b *box) match(i int) *held {
	h := &b.held[i]
	h.taken = true
	return h
}

// hasUnknown reports whether there are messages without a match in the backup so far.
func (b *box) hasUnknown() bool { return len(b.bySum)+len(b.bySize) > 0 }

// unread removes and returns the messages of these sizes whose bytes are unknown.
func (b *box) unread(sizes ...int64) []int {
	var out []int
	for _, size := range sizes {
		for i, ok := b.bySize.take(size); ok; i, ok = b.bySize.take(size) {
			out = append(out, i)
		}
	}
	return out
}

// smallest returns the size of the smallest message whose bytes are unknown.
func (b *box) smallest() (size int64, ok bool) {
	for n := range b.bySize {
		if !ok || n < size {
			size, ok = n, true
		}
	}
	return size, ok
}
