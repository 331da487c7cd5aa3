package history

import (
	"errors"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// A Mem of Moment.Heads applies the log after the checkpoint without its records and
// messages: most lines of a log are about them, and they may name blocks of any size.

// ErrHeadsOnly reports a question about records or messages to a state with Moment.Heads.
var ErrHeadsOnly = errors.New("only the mailboxes were loaded, not their records and messages")

// headEvents is Events without records and messages: a RecordsEvent without records
// replaces each event about records. The skipped lines are covered by the commit's hash,
// but not parsed.
func (c *CommitReader) headEvents() iter.Seq2[Event, error] {
	return c.eventsBy(parseHeadEvent)
}

// parseHeadEvent returns the event of a line as headEvents yields it; nil for one that only
// concerns messages.
func parseHeadEvent(line []byte) (Event, error) {
	if e, ok := scanHeadEvent(line); ok {
		return e, nil
	}
	e, err := ParseEvent(line)
	if err != nil {
		return nil, err
	}
	switch e := e.(type) {
	case *RecordsEvent:
		return &RecordsEvent{UniqueID: e.UniqueID}, nil
	case *RecordBlocksEvent:
		return &RecordsEvent{UniqueID: e.UniqueID}, nil
	case *CompleteEvent:
		return &RecordsEvent{UniqueID: e.UniqueID}, nil
	case *ExpungeEvent:
		return &RecordsEvent{UniqueID: e.UniqueID}, nil
	case *MessagesEvent, *LostEvent, *ErasedEvent:
		return nil, nil
	}
	return e, nil
}

// scanHeadEvent recognises the beginning of the long lines. ok is false for other lines.
func scanHeadEvent(line []byte) (e Event, ok bool) {
	s := scanner{exactjson.Over(line)}
	s.Want(`{"event":"`)
	switch {
	case s.Has(`messages","messages":[`):
		return nil, true
	case s.Has(`records","uniqueid":`), s.Has(`recordblocks","uniqueid":`):
		id := s.text()
		return &RecordsEvent{UniqueID: id}, s.OK
	}
	return nil, false
}

// whole returns an error if the state lacks records and messages.
func (m *Mem) whole() error {
	if m.partial {
		return ErrHeadsOnly
	}
	return nil
}
