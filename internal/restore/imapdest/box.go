package imapdest

import (
	"errors"

	"github.com/emersion/go-imap/v2"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// held is a message of a folder at the server.
type held struct {
	uid   imap.UID
	size  int64      // as the server says
	date  int64      // seconds since the epoch
	guid  cyrus.GUID // of the message of the backup that it is; zero = not known
	sum   cyrus.GUID // SHA-1 of what the server serves; zero = not known
	lacks []string   // flags that it was to get and has not
	taken bool       // it stands for a message of the backup
}

// box is a folder at the server, as a restore finds it.
type box struct {
	name     string
	journal  *journal
	keywords *keywords
	held     []held
	top      imap.UID // the highest uid seen
	byGUID   index[cyrus.GUID]
	bySum    index[cyrus.GUID] // those without a guid
	bySize   index[int64]      // those without either
}

// index finds messages by a key. Several can have the same one.
type index[K comparable] map[K][]int32

// put adds a message.
func (x index[K]) put(k K, i int) { x[k] = append(x[k], int32(i)) }

// take takes a message out.
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

// open selects a folder and lists what is in it.
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
		s.rep.Warn("%s: there is no journal, so that the next run has to compare: %v", name, err)
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

// list asks what is in the folder, and believes the journal where both agree.
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

// ours takes the message that is known to be this one of the backup.
func (b *box) ours(guid cyrus.GUID) *held {
	i, ok := b.byGUID.take(guid)
	if !ok {
		return nil
	}
	return b.stands(i)
}

// like takes a message with these bytes that nobody knows, and notes whose it is.
func (b *box) like(sum, guid cyrus.GUID) *held {
	i, ok := b.bySum.take(sum)
	if !ok {
		return nil
	}
	h := b.stands(i)
	h.guid = guid
	h.lacks = b.journal.sent[guid]
	delete(b.journal.sent, guid)
	b.journal.add(h)
	return h
}

func (b *box) stands(i int) *held {
	h := &b.held[i]
	h.taken = true
	return h
}

// strangers says that there are messages of which nobody knows whether the backup has them.
func (b *box) strangers() bool { return len(b.bySum)+len(b.bySize) > 0 }

// unread takes out the messages of one of these sizes whose bytes are not known.
func (b *box) unread(sizes ...int64) []int {
	var out []int
	for _, size := range sizes {
		for i, ok := b.bySize.take(size); ok; i, ok = b.bySize.take(size) {
			out = append(out, i)
		}
	}
	return out
}

// smallest is the size of the smallest message whose bytes are not known.
func (b *box) smallest() (size int64, ok bool) {
	for n := range b.bySize {
		if !ok || n < size {
			size, ok = n, true
		}
	}
	return size, ok
}
