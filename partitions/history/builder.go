package history

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// The entries of a commit's object.
const (
	commitEntry = "commit.ndjson"
	placesEntry = "places.ndjson"
)

// Builder collects the contents of a commit and makes its object. It holds the events in
// memory as JSON, and refers to the bodies. Not safe for concurrent use.
type Builder struct {
	header  Header
	options pack.Options
	version int // required by the events
	events  []byte
	line    recordsLine // an unfinished records event
	places  []byte
	bodies  []inlineBody
}

type inlineBody struct {
	entry string
	body  []byte
}

type recordsLine struct {
	uniqueid string
	start    int // offset in events
	records  int // 0 = no unfinished line
	last     uint32
}

// NewBuilder begins a commit. It fills in h.Random if empty, and h.Version by the events.
func NewBuilder(h Header, o pack.Options) *Builder {
	b := &Builder{options: o, version: Version}
	b.Reheader(h)
	return b
}

// Reheader replaces the header and keeps events, places and bodies, for a retry after
// another writer won the number.
func (b *Builder) Reheader(h Header) {
	h.Version = b.version
	if h.Random == "" {
		h.Random = NewRandom()
	}
	b.header = h
}

// Header returns the header that Finish will write.
func (b *Builder) Header() Header { return b.header }

// Event appends an event. An error leaves the builder unchanged.
func (b *Builder) Event(e Event) error {
	switch e := e.(type) {
	case *RecordsEvent:
		if len(e.Records) > MaxRecordsPerEvent {
			return fmt.Errorf("%w: records event with %d records", ErrTooLarge, len(e.Records))
		}
	case *MessagesEvent:
		if len(e.Messages) > MaxMessagesPerEvent {
			return fmt.Errorf("%w: messages event with %d messages", ErrTooLarge, len(e.Messages))
		}
		// Readers refuse a line with an invalid message, and the rest of the log with it.
		for i := range e.Messages {
			if err := (&MessageState{Message: e.Messages[i]}).check(); err != nil {
				return err
			}
		}
	}
	b.closeLine()
	start := len(b.events)
	events, err := AppendEvent(b.events, e)
	if err == nil && len(events)-start > maxEvent {
		err = fmt.Errorf("%w: %s event of %d bytes", ErrTooLarge, e.Kind(), len(events)-start)
	}
	if err == nil && len(events) > maxCommitSize-maxLine {
		err = fmt.Errorf("%w: commit of %d bytes", ErrTooLarge, len(events))
	}
	if err != nil {
		b.events = events[:start]
		return err
	}
	b.events = events
	b.needs(e)
	return nil
}

// needs raises the version of the commit for events that version 1 does not have.
func (b *Builder) needs(e Event) {
	switch e.(type) {
	case *BridgedEvent, *LostEvent:
		b.version = max(b.version, versionLoss)
	case *ErasedEvent:
		b.version = versionErased
	}
	b.header.Version = b.version
}

// Lengths of lines about a message of one chunk: its part of a messages event, and its place in a
// pack, whose key and entry have fixed lengths.
const (
	messageLength = 150
	placeLength   = 230
)

// Expect makes room for messages in packs, and for their places. Memory that grows step by step
// costs several times as much, because each step copies what there is.
func (b *Builder) Expect(messages int) {
	b.events = withRoom(b.events, messages*messageLength)
	b.places = withRoom(b.places, messages*placeLength)
}

// recordRoom is more than an ordinary record takes.
const recordRoom = 1 << 10

// makeRoom doubles the memory for events before it is full.
func (b *Builder) makeRoom() {
	if n := len(b.events); cap(b.events)-n < recordRoom {
		b.events = withRoom(b.events, n+recordRoom)
	}
}

// withRoom returns b with memory for n more bytes, and allocates no more than that.
func withRoom(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return append(make([]byte, 0, len(b)+n), b...)
}

// Record appends one record of a mailbox, so that callers need no slice of records.
// Consecutive records with ascending uids share a RecordsEvent until it is full.
func (b *Builder) Record(uniqueid string, r *cyrus.Record) error {
	l := &b.line
	if l.records > 0 && (l.uniqueid != uniqueid || l.records == MaxRecordsPerEvent ||
		r.UID <= l.last || len(b.events)-l.start > lineTarget) {
		b.closeLine()
	}
	b.makeRoom()
	before := len(b.events)
	if l.records == 0 {
		*l = recordsLine{uniqueid: uniqueid, start: before}
		b.events = append(b.events, `{"event":"records","uniqueid":`...)
		b.events = dlist.AppendJSONString(b.events, uniqueid)
		b.events = append(b.events, `,"records":[`...)
	} else {
		b.events = append(b.events, ',')
	}
	events := cyrus.AppendJSON(b.events, r)
	var err error
	if len(events)-l.start > maxEvent {
		err = fmt.Errorf("%w: record %d of mailbox %s has %d bytes", ErrTooLarge, r.UID, uniqueid, len(events)-before)
	}
	if err == nil && len(events) > maxCommitSize-maxLine {
		err = fmt.Errorf("%w: commit of %d bytes", ErrTooLarge, len(events))
	}
	if err != nil {
		b.events = events[:before]
		return err
	}
	b.events = events
	l.records++
	l.last = r.UID
	return nil
}

func (b *Builder) closeLine() {
	if b.line.records > 0 {
		b.events = append(b.events, "]}\n"...)
		b.line.records = 0
	}
}

// Place adds the place of a chunk that the events refer to.
func (b *Builder) Place(p Place) { b.places = p.append(b.places) }

// Inline adds a body to the object itself. entry is the name in its Place, which has
// object ".": <guid>.eml for a whole message, <chunk>.part for a chunk. body must not
// change until the last Finish.
func (b *Builder) Inline(entry string, body []byte) {
	b.bodies = append(b.bodies, inlineBody{entry, body})
}

// Size returns the length of the events so far, in bytes of JSON.
func (b *Builder) Size() int64 { return int64(len(b.events)) }

// Empty reports whether there are no events.
func (b *Builder) Empty() bool { return len(b.events) == 0 }

// Finish makes the object. It appends to buf[:0], so that callers can reuse buffers. hash
// is the SHA-256 of the uncompressed commit.ndjson: the next commit's Prev. The builder
// does not change, so that Reheader and Finish can be called again.
func (b *Builder) Finish(buf []byte) (object []byte, hash [32]byte, err error) {
	b.closeLine()
	if b.header.Number == 0 || b.header.Number > maxNumber || b.header.Backup == "" {
		return nil, hash, fmt.Errorf("commit %d of %q: %w", b.header.Number, b.header.Backup, errHeader)
	}
	first, err := b.header.append(nil)
	if err != nil {
		return nil, hash, fmt.Errorf("header of commit %d: %w", b.header.Number, err)
	}
	sum := sha256.New()
	sum.Write(first)
	sum.Write(b.events)
	sum.Sum(hash[:0])

	if cap(buf) == 0 {
		buf = make([]byte, 0, b.estimate())
	}
	w := pack.NewWriter(buf, b.options)
	err = w.AddReader(commitEntry, int64(len(first)+len(b.events)), io.MultiReader(bytes.NewReader(first), bytes.NewReader(b.events)))
	if err == nil && len(b.places) > 0 {
		err = w.Add(placesEntry, b.places)
	}
	for _, i := range b.bodies {
		if err == nil {
			err = w.Add(i.entry, i.body)
		}
	}
	if err == nil {
		object, err = w.Finish()
	}
	if err != nil {
		return nil, hash, fmt.Errorf("commit %d of %s: %w", b.header.Number, b.header.Backup, err)
	}
	return object, hash, nil
}

// estimate returns how large the object becomes at most, usually. Lines of JSON compress to a
// third or better, and bodies need not compress at all.
func (b *Builder) estimate() int {
	const rest = 4 << 10 // header, directory and the frames of small commits
	n := rest + (len(b.events)+len(b.places))/3
	for _, i := range b.bodies {
		n += len(i.body) + inlineRest
	}
	return n
}

// inlineRest is what an entry takes beside its body: a compressed header, and its name in the
// directory.
const inlineRest = 160

var errHeader = errors.New("header has no backup name or an invalid number")
