package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// stateEntry is the entry of a checkpoint that contains the state. The placesEntry of the
// checkpoint lists the objects that contain the blocks.
const stateEntry = "state.ndjson"

// stateHeader is the first line of a state.ndjson.
type stateHeader struct {
	Version   int       `json:"version"`
	Backup    string    `json:"backup"`
	Number    uint64    `json:"number"`   // of the last commit in the state
	Hash      string    `json:"hash"`     // of that commit
	Time      time.Time `json:"time"`     // of that commit
	Previous  string    `json:"previous"` // SHA-256 of the previous checkpoint's state.ndjson; "" = none
	NextSeq   uint64    `json:"next_seq"`
	Arrivals  uint64    `json:"arrivals"` // messages that ever arrived
	Mailboxes int       `json:"mailboxes"`
	Records   int       `json:"records"`
	Messages  int       `json:"messages"`
	Items     int       `json:"items"`
	Blocks    int       `json:"blocks"` // of records and of messages
}

// stateLine is a line after the header: exactly one of the fields is set.
type stateLine struct {
	Mailbox  *MailboxState `json:"mailbox"`
	Records  *stateBlock   `json:"records"` // a block of the last mailbox before this line
	Messages *stateBlock   `json:"messages"`
	Item     *ItemState    `json:"item"`
}

// stateBlock is a BlockRef without its object.
type stateBlock struct {
	Block  uint32 `json:"block"`
	Count  int    `json:"count"`
	SHA256 string `json:"sha256"`
}

// state returns the bytes of the state.ndjson. All blocks must be sealed.
func (m *Mem) state(previous string) ([]byte, error) {
	h := stateHeader{
		Version: Version, Backup: m.backup, Number: m.tip.Number, Hash: m.tip.Hash, Time: m.tip.Time, Previous: previous,
		NextSeq: m.nextSeq, Arrivals: m.messages.arrivals, Mailboxes: len(m.order), Items: len(m.items), Blocks: len(m.messages.blocks),
	}
	if m.erased {
		h.Version = versionErased
	}
	for _, b := range m.order {
		h.Records += b.Records
		h.Blocks += len(b.blocks)
	}
	for _, b := range m.messages.blocks {
		h.Messages += b.ref.Count
	}
	dst, err := appendFields([]byte{'{'}, reflect.ValueOf(h), false)
	if err != nil {
		return nil, err
	}
	dst = append(dst, '}', '\n')
	for _, b := range m.order {
		if dst, err = appendLine(dst, "mailbox", b.MailboxState); err != nil {
			return nil, err
		}
		for _, block := range b.blocks {
			if dst, err = appendLine(dst, "records", newStateBlock(block.ref)); err != nil {
				return nil, err
			}
		}
	}
	for _, b := range m.messages.blocks {
		if dst, err = appendLine(dst, "messages", newStateBlock(b.ref)); err != nil {
			return nil, err
		}
	}
	for _, kind := range ItemKinds() {
		for i, err := range m.Items(kind) {
			if err != nil {
				return nil, err
			}
			if dst, err = appendLine(dst, "item", i); err != nil {
				return nil, err
			}
		}
	}
	return dst, nil
}

func newStateBlock(r BlockRef) stateBlock { return stateBlock{r.Block, r.Count, r.SHA256} }

func appendLine(dst []byte, key string, v any) ([]byte, error) {
	b, err := MarshalState(v)
	if err != nil {
		return nil, err
	}
	dst = append(dst, '{', '"')
	dst = append(dst, key...)
	dst = append(dst, '"', ':')
	dst = append(dst, b...)
	return append(dst, '}', '\n'), nil
}

// MarshalState is like json.Marshal, but keeps the output of our own marshalers as is:
// json.Marshal would compact it and escape HTML, which changes our strings.
func MarshalState(v any) ([]byte, error) {
	if m, ok := v.(json.Marshaler); ok {
		return m.MarshalJSON()
	}
	return json.Marshal(v)
}

// readState fills an empty Mem from a state.ndjson of size bytes and returns its header.
func (m *Mem) readState(r io.Reader, size int64) (stateHeader, error) {
	var h stateHeader
	l := newLines(r, size)
	line, err := l.next()
	if err != nil {
		return h, fmt.Errorf("%w: no first line: %w", ErrCorrupt, err)
	}
	if h, err = parseStateHeader(line); err != nil {
		return h, err
	}
	m.nextSeq, m.messages.arrivals, m.erased = h.NextSeq, h.Arrivals, h.Version == versionErased
	m.tip = Tip{Number: h.Number, Hash: h.Hash, Time: h.Time}
	m.times.at = h.Time
	var current *memMailbox
	blocks := 0
	err = l.each(func(line []byte) error {
		s, err := parseStateLine(line)
		if err == nil {
			err = s.check()
		}
		if err != nil {
			return err
		}
		switch {
		case s.Mailbox != nil:
			if err := m.PutMailbox(s.Mailbox); err != nil {
				return err
			}
			current = m.mailboxes[s.Mailbox.UniqueID]
		case s.Records != nil && current != nil:
			blocks++
			current.blocks = append(current.blocks, &memBlock{ref: s.Records.ref()})
		case s.Messages != nil:
			blocks++
			m.messages.blocks = append(m.messages.blocks, &lineBlock{ref: s.Messages.ref()})
		case s.Item != nil:
			m.items[s.Item.Key] = s.Item
		default:
			return fmt.Errorf("%w: unknown kind of line", ErrCorrupt)
		}
		return nil
	})
	if err == nil && blocks != h.Blocks {
		err = fmt.Errorf("%w: %d blocks, want %d", ErrCorrupt, blocks, h.Blocks)
	}
	if err == nil {
		err = m.checkCounts(h)
	}
	return h, err
}

// parseStateLine reads a line after the header.
func parseStateLine(line []byte) (*stateLine, error) {
	l := new(stateLine)
	if l.scan(line) {
		return l, nil
	}
	return decodeStateLine(line)
}

// decodeStateLine reads a line in any form.
func decodeStateLine(line []byte) (*stateLine, error) {
	l := new(stateLine)
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return l, nil
}

// scan reads the exact form that state writes. It returns false for any other line.
func (l *stateLine) scan(line []byte) bool {
	s := scanner{exactjson.Over(line)}
	switch {
	case s.Has(`{"records":`):
		l.Records = s.stateBlock()
	case s.Has(`{"messages":`):
		l.Messages = s.stateBlock()
	case s.Has(`{"mailbox":`):
		l.Mailbox = new(MailboxState)
		s.mailboxState(l.Mailbox)
		if l.Mailbox.check() != nil {
			return false
		}
	case s.Has(`{"item":`):
		n := len(s.B) - 1
		l.Item = new(ItemState)
		return n > 0 && s.B[n] == '}' && l.Item.scan(s.B[:n])
	default:
		return false
	}
	s.Want(`}`)
	return s.Ended()
}

// check refuses a block that no writer names.
func (l *stateLine) check() error {
	for _, b := range []*stateBlock{l.Records, l.Messages} {
		if b == nil {
			continue
		}
		ref := b.ref()
		if err := ref.checkCount(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) stateBlock() *stateBlock {
	b := new(stateBlock)
	s.Want(`{"block":`)
	b.Block = s.number32()
	s.Want(`,"count":`)
	b.Count = int(s.number())
	s.Want(`,"sha256":`)
	b.SHA256 = s.text()
	s.Want(`}`)
	return b
}

func (s *stateBlock) ref() BlockRef {
	return BlockRef{Block: s.Block, Count: s.Count, SHA256: s.SHA256}
}

func parseStateHeader(line []byte) (stateHeader, error) {
	var h stateHeader
	if err := checkVersion(line, versionErased); err != nil {
		return h, err
	}
	d := json.NewDecoder(bytes.NewReader(line))
	err := eachKey(d, func(key string) error { return decodeField(d, reflect.ValueOf(&h).Elem(), key) })
	switch {
	case err != nil:
	case h.Number == 0 || h.NextSeq == 0:
		err = errors.New("number or next_seq is 0")
	case h.Version == versionLoss:
		err = errors.New("no checkpoint has version 2")
	}
	if err != nil {
		return h, fmt.Errorf("%w: first line: %w", ErrCorrupt, err)
	}
	return h, nil
}

// checkCounts compares the state with the counts in its header and its mailboxes.
func (m *Mem) checkCounts(h stateHeader) error {
	records, messages := 0, 0
	for _, b := range m.order {
		own, last := 0, int64(-1)
		for _, block := range b.blocks {
			own += block.ref.Count
			if int64(block.ref.Block) <= last {
				return fmt.Errorf("%w: blocks of mailbox %q are not in order", ErrCorrupt, b.UniqueID)
			}
			last = int64(block.ref.Block)
		}
		if own != b.Records {
			return fmt.Errorf("%w: mailbox %q has %d records in its blocks, want %d", ErrCorrupt, b.UniqueID, own, b.Records)
		}
		records += own
	}
	for _, b := range m.messages.blocks {
		messages += b.ref.Count
	}
	if records != h.Records || messages != h.Messages || len(m.order) != h.Mailboxes || len(m.items) != h.Items {
		return fmt.Errorf("%w: found %d mailboxes, %d records, %d messages, %d items; want %d, %d, %d, %d", ErrCorrupt,
			len(m.order), records, messages, len(m.items), h.Mailboxes, h.Records, h.Messages, h.Items)
	}
	return nil
}
