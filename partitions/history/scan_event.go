package history

import (
	"bytes"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// scanEvent reads the events that make up most of a log or of a state, in the exact form that
// AppendEvent writes. It returns nil for any other line.
func scanEvent(line []byte) Event {
	s := scanner{exactjson.Over(line)}
	s.Want(`{"event":"`)
	var e Event
	switch {
	case s.Has(`records","uniqueid":`):
		e = s.recordsEvent()
	case s.Has(`messages","messages":[`):
		e = s.messagesEvent()
	case s.Has(`recordblocks","uniqueid":`):
		e = s.recordBlocksEvent()
	case s.Has(`mailbox","uniqueid":`):
		e = s.mailboxEvent()
	case s.Has(`sub","user":`):
		e = s.subEvent()
	default:
		return nil
	}
	s.Want(`}`)
	s.Has("\n")
	if !s.Ended() {
		return nil
	}
	return e
}

func (s *scanner) recordsEvent() *RecordsEvent {
	e := &RecordsEvent{UniqueID: s.text()}
	s.Want(`,"records":[`)
	// One allocation for all records.
	list := make([]cyrus.Record, min(bytes.Count(s.B, []byte(`{"uid":`)), MaxRecordsPerEvent))
	e.Records = make([]*cyrus.Record, 0, len(list))
	var j cyrus.JSONScanner
	for n := 0; s.OK && !s.Has(`]`); n++ {
		if n == len(list) {
			s.OK = false
			break
		}
		if n > 0 {
			s.Want(`,`)
		}
		s.record(&j, &list[n])
		e.Records = append(e.Records, &list[n])
	}
	return e
}

func (s *scanner) messagesEvent() *MessagesEvent {
	n := min(bytes.Count(s.B, []byte(`{"guid":`)), MaxMessagesPerEvent)
	e := &MessagesEvent{Messages: make([]Message, 0, n)}
	chunks := make([]ChunkID, 0, n) // one allocation for all messages
	for s.OK && !s.Has(`]`) {
		if len(e.Messages) > 0 {
			s.Want(`,`)
		}
		var m MessageState
		s.message(&m.Message, &chunks)
		s.Want(`}`)
		if m.check() != nil {
			s.OK = false
		}
		e.Messages = append(e.Messages, m.Message)
	}
	return e
}

// message reads a message without the closing brace. It appends the chunks to those of the
// messages before.
func (s *scanner) message(m *Message, chunks *[]ChunkID) {
	s.Want(`{"guid":"`)
	s.Hex(m.GUID[:])
	s.Want(`","size":`)
	m.Size = int64(s.number())
	s.Want(`,"chunks":[`)
	from := len(*chunks)
	for s.OK && !s.Has(`]`) {
		if len(*chunks) > from {
			s.Want(`,`)
		}
		var c ChunkID
		s.Want(`"`)
		s.Hex(c[:])
		s.Want(`"`)
		*chunks = append(*chunks, c)
	}
	if len(*chunks) > from {
		m.Chunks = (*chunks)[from:len(*chunks):len(*chunks)]
	}
	m.Missing = s.Has(`,"missing":true`)
	m.Private = s.Has(`,"private":true`)
}

func (s *scanner) recordBlocksEvent() *RecordBlocksEvent {
	e := &RecordBlocksEvent{UniqueID: s.text()}
	s.Want(`,"blocks":[`)
	object := ""
	for s.OK && !s.Has(`]`) {
		if len(e.Blocks) > 0 {
			s.Want(`,`)
		}
		var r BlockRef
		s.Want(`{"block":`)
		r.Block = s.number32()
		s.Want(`,"count":`)
		r.Count = int(s.number())
		s.Want(`,"sha256":`)
		r.SHA256 = s.text()
		s.Want(`,"object":`)
		object = s.textLike(object)
		r.Object = object
		s.Want(`}`)
		e.Blocks = append(e.Blocks, r)
	}
	return e
}

func (s *scanner) mailboxEvent() *MailboxEvent {
	e := &MailboxEvent{UniqueID: s.text()}
	s.Want(`,"name":`)
	e.Name = s.text()
	s.Want(`,"fields":`)
	e.Fields = s.pairs()
	return e
}

func (s *scanner) subEvent() *SubEvent {
	e := &SubEvent{User: s.text()}
	s.Want(`,"name":`)
	e.Name = s.text()
	s.Want(`,"subscribed":`)
	e.Subscribed = s.Has(`true`)
	if !e.Subscribed {
		s.Want(`false`)
	}
	return e
}
