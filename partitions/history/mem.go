package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
)

// Mem is a State in memory, for reading the state at a moment and for making
// checkpoints. It holds all mailboxes and items. Records, messages and places are in
// blocks, which are read from the store on demand. Mem keeps a limited number of blocks
// decoded, and changed blocks compressed, so that a mailbox of a million messages fits
// in memory. Not safe for concurrent use.
type Mem struct {
	// ctx is for the requests of the State methods, which have no context parameter. It
	// must stay valid as long as the Mem is used.
	ctx     context.Context
	backup  string
	source  *blockSource
	tip     Tip
	times   Times // up to tip
	base    Checkpoint
	broken  error // from a commit that was partly applied
	nextSeq uint64

	mailboxes map[string]*memMailbox // by uniqueid
	order     []*memMailbox          // by Seq
	names     map[string]string      // name → uniqueid of live mailboxes
	items     map[ItemKey]*ItemState
	cache     recordCache
	messages  lineBlocks[*MessageState]
	places    lineBlocks[Place]
	pruned    bool   // messages were dropped since the last sweepPlaces
	erased    bool   // an ErasedEvent was applied: the checkpoint has versionErased
	line      []byte // the last line that was added
	heads     bool   // apply no records and messages
	partial   bool   // records and messages of the log are missing
	relocate  func(Place) (Place, error)

	gaps    []Gap // commits that could not be read
	bridged []LostRange
	lenient bool     // there are gaps: events that depend on them are skipped
	skipped []Damage // checkpoints that could not be read
	copying error    // see Unfinished
}

type memMailbox struct {
	*MailboxState
	blocks []*memBlock // by number
}

var _ State = (*Mem)(nil)

// NewMem returns the state before the first commit of the backup. ctx must stay valid as
// long as the Mem is used.
func NewMem(ctx context.Context, s objstore.Store, backup string) (*Mem, error) {
	source, err := newBlockSource(s)
	if err != nil {
		return nil, err
	}
	m := &Mem{
		ctx: ctx, backup: backup, source: source, nextSeq: 1,
		mailboxes: make(map[string]*memMailbox),
		names:     make(map[string]string),
		items:     make(map[ItemKey]*ItemState),
	}
	m.cache = recordCache{ctx: ctx, source: source, max: cachedRecords}
	m.messages = lineBlocks[*MessageState]{ctx: ctx, source: source, kind: messageBlocks,
		parser: parseMessageLines, begins: `{"guid":"`, prefix: func(s *MessageState) uint64 { return guidPrefix(s.GUID) }}
	m.places = lineBlocks[Place]{ctx: ctx, source: source, kind: placeBlocks,
		parser: func() func([]byte) (Place, error) { return new(placeParser).parse }, begins: `{"chunk":"`, prefix: func(p Place) uint64 { return chunkPrefix(p.Chunk) }}
	return m, nil
}

// Close releases the temporary file and other resources.
func (m *Mem) Close() error { return m.source.close() }

// Tip returns the last commit that the state contains.
func (m *Mem) Tip() Tip { return m.tip }

// Time returns when that commit was made: the moment that the state describes.
func (m *Mem) Time() time.Time {
	if m.times.at.IsZero() {
		return m.tip.Time
	}
	return m.times.at
}

// Times returns the Times of the log up to that commit.
func (m *Mem) Times() Times {
	t := m.times
	t.ignored = slices.Clone(t.ignored)
	return t
}

// Backup returns the path of the backup.
func (m *Mem) Backup() string { return m.backup }

// Apply applies the next commit, both events and places. After an error the Mem cannot be
// used any more.
func (m *Mem) Apply(c *CommitReader) error {
	if m.broken != nil {
		return m.broken
	}
	if err := m.apply(c); err != nil {
		m.broken = err
		return err
	}
	return nil
}

func (m *Mem) apply(c *CommitReader) error {
	h := c.Header()
	if h.Backup != m.backup || h.Number != m.tip.Number+1 {
		return fmt.Errorf("%s: commit %d of %s does not follow commit %d of %s", c.Key(), h.Number, h.Backup, m.tip.Number, m.backup)
	}
	if err := m.tip.follow(c); err != nil {
		return err
	}
	if i, _ := m.Item(ItemKey{Kind: ItemSealed}); i != nil && i.Event.(*SealedEvent).To == "" {
		return inObject(c.Key(), fmt.Errorf("%w: the log already ended with commit %d", ErrCorrupt, i.Commit))
	}
	rp := Replayer{State: m, Blocks: m.readBlock, heads: m.heads}
	events := c.Events()
	if m.heads {
		events, m.partial = c.headEvents(), true
	}
	for e, err := range events {
		if err != nil {
			return err
		}
		if err := rp.Apply(h, e); err != nil && !(m.lenient && errors.Is(err, ErrCorrupt)) {
			return inObject(c.Key(), err)
		}
		switch e := e.(type) {
		case *BridgedEvent:
			m.bridge(h.Number, e)
		case *ErasedEvent:
			m.erased = true
		}
	}
	if err := m.addPlaces(c); err != nil {
		return err
	}
	m.times.Next(h)
	return m.tip.advance(c)
}

func (m *Mem) addPlaces(c *CommitReader) error {
	if m.heads {
		return nil
	}
	for p, err := range c.Places() {
		if err == nil && m.relocate != nil {
			p, err = m.relocate(p)
		}
		if err == nil {
			err = m.AddPlace(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Mem) readBlock(ref BlockRef) iter.Seq2[*cyrus.Record, error] {
	return m.source.records(m.ctx, ref)
}

// Mailbox implements State.
func (m *Mem) Mailbox(uniqueid string) (*MailboxState, error) {
	if b, ok := m.mailboxes[uniqueid]; ok {
		return b.MailboxState, nil
	}
	return nil, nil
}

// MailboxByName implements State.
func (m *Mem) MailboxByName(name string) (*MailboxState, error) {
	uniqueid, ok := m.names[name]
	if !ok {
		return nil, nil
	}
	return m.Mailbox(uniqueid)
}

// Mailboxes implements State.
func (m *Mem) Mailboxes() iter.Seq2[*MailboxState, error] {
	return func(yield func(*MailboxState, error) bool) {
		for _, b := range slices.Clone(m.order) {
			if m.mailboxes[b.UniqueID] == b && !yield(b.MailboxState, nil) {
				return
			}
		}
	}
}

// PutMailbox implements State.
func (m *Mem) PutMailbox(s *MailboxState) error {
	b, ok := m.mailboxes[s.UniqueID]
	if !ok {
		b = &memMailbox{}
		m.mailboxes[s.UniqueID] = b
		i, _ := slices.BinarySearchFunc(m.order, s.Seq, bySeq)
		m.order = slices.Insert(m.order, i, b)
	} else if m.names[b.Name] == s.UniqueID {
		delete(m.names, b.Name)
	}
	b.MailboxState = s
	if s.Deleted.IsZero() {
		m.names[s.Name] = s.UniqueID
	}
	return nil
}

func bySeq(b *memMailbox, seq uint64) int { return cmp.Compare(b.Seq, seq) }

// DropMailbox implements State.
func (m *Mem) DropMailbox(uniqueid string) error {
	b, ok := m.mailboxes[uniqueid]
	if !ok {
		return nil
	}
	for _, block := range b.blocks {
		m.cache.forget(block)
		m.source.spill.drop(block.packed)
	}
	if m.names[b.Name] == uniqueid {
		delete(m.names, b.Name)
	}
	delete(m.mailboxes, uniqueid)
	m.order = slices.DeleteFunc(m.order, func(o *memMailbox) bool { return o == b })
	return nil
}

// NextSeq implements State.
func (m *Mem) NextSeq() (uint64, error) { return m.nextSeq, nil }

// PutNextSeq implements State.
func (m *Mem) PutNextSeq(n uint64) error {
	m.nextSeq = n
	return nil
}

// Item implements State.
func (m *Mem) Item(k ItemKey) (*ItemState, error) { return m.items[k], nil }

// Items implements State: in order of the key.
func (m *Mem) Items(kind string) iter.Seq2[*ItemState, error] {
	return func(yield func(*ItemState, error) bool) {
		var keys []ItemKey
		for k := range m.items {
			if k.Kind == kind {
				keys = append(keys, k)
			}
		}
		slices.SortFunc(keys, func(a, b ItemKey) int {
			return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B), cmp.Compare(a.C, b.C))
		})
		for _, k := range keys {
			if i, ok := m.items[k]; ok && !yield(i, nil) {
				return
			}
		}
	}
}

// PutItem implements State.
func (m *Mem) PutItem(i *ItemState) error {
	m.items[i.Key] = i
	return nil
}

// DropItem implements State.
func (m *Mem) DropItem(k ItemKey) error {
	delete(m.items, k)
	return nil
}

// Message implements State.
func (m *Mem) Message(g cyrus.GUID) (*MessageState, error) {
	if err := m.whole(); err != nil {
		return nil, err
	}
	for s, err := range m.messages.find(guidPrefix(g)) {
		if err != nil {
			return nil, err
		}
		if s.GUID == g {
			return s, nil
		}
	}
	return nil, nil
}
