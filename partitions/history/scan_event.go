package history

import (
	"bytes"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// scanEvent reads the events that make up most of a log, in the exact form that AppendEvent
// writes. It returns nil for any other line.
func scanEvent(line []byte) Event {
	s := scanner{b: line, ok: true}
	s.want(`{"event":"`)
	var e Event
	switch {
	case s.has(`records","uniqueid":`):
		e = s.recordsEvent()
	case s.has(`messages","messages":[`):
		e = s.messagesEvent()
	case s.has(`recordblocks","uniqueid":`):
		e = s.recordBlocksEvent()
	case s.has(`mailbox","uniqueid":`):
		e = s.mailboxEvent()
	default:
		return nil
	}
	s.want(`}`)
	s.has("\n")
	if !s.ended() {
		return nil
	}
	return e
}

func (s *scanner) recordsEvent() *RecordsEvent {
	e := &RecordsEvent{UniqueID: s.text()}
	s.want(`,"records":[`)
	// One allocation for all records.
	list := make([]cyrus.Record, min(bytes.Count(s.b, []byte(`{"uid":`)), MaxRecordsPerEvent))
	e.Records = make([]*cyrus.Record, 0, len(list))
	var j cyrus.JSONScanner
	for n := 0; s.ok && !s.has(`]`); n++ {
		if n == len(list) {
			s.ok = false
			break
		}
		if n > 0 {
			s.want(`,`)
		}
		s.record(&j, &list[n])
		e.Records = append(e.Records, &list[n])
	}
	return e
}

func (s *scanner) messagesEvent() *MessagesEvent {
	n := min(bytes.Count(s.b, []byte(`{"guid":`)), MaxMessagesPerEvent)
	e := &MessagesEvent{Messages: make([]Message, 0, n)}
	chunks := make([]ChunkID, 0, n) // one allocation for all messages
	for s.ok && !s.has(`]`) {
		if len(e.Messages) > 0 {
			s.want(`,`)
		}
		var m MessageState
		s.message(&m.Message, &chunks)
		s.want(`}`)
		if m.check() != nil {
			s.ok = false
		}
		e.Messages = append(e.Messages, m.Message)
	}
	return e
}

// message reads a message without the closing brace. It appends the chunks to those of the
// messages before.
func (s *scanner) message(m *Message, chunks *[]ChunkID) {
	s.want(`{"guid":"`)
	s.hex(m.GUID[:])
	s.want(`","size":`)
	m.Size = int64(s.number())
	s.want(`,"chunks":[`)
	from := len(*chunks)
	for s.ok && !s.has(`]`) {
		if len(*chunks) > from {
			s.want(`,`)
		}
		var c ChunkID
		s.want(`"`)
		s.hex(c[:])
		s.want(`"`)
		*chunks = append(*chunks, c)
	}
	if len(*chunks) > from {
		m.Chunks = (*chunks)[from:len(*chunks):len(*chunks)]
	}
	m.Missing = s.has(`,"missing":true`)
	m.Private = s.has(`,"private":true`)
}

func (s *scanner) recordBlocksEvent() *RecordBlocksEvent {
	e := &RecordBlocksEvent{UniqueID: s.text()}
	s.want(`,"blocks":[`)
	object := ""
	for s.ok && !s.has(`]`) {
		if len(e.Blocks) > 0 {
			s.want(`,`)
		}
		var r BlockRef
		s.want(`{"block":`)
		r.Block = s.number32()
		s.want(`,"count":`)
		r.Count = int(s.number())
		s.want(`,"sha256":`)
		r.SHA256 = s.text()
		s.want(`,"object":`)
		object = s.textLike(object)
		r.Object = object
		s.want(`}`)
		e.Blocks = append(e.Blocks, r)
	}
	return e
}

func (s *scanner) mailboxEvent() *MailboxEvent {
	e := &MailboxEvent{UniqueID: s.text()}
	s.want(`,"name":`)
	e.Name = s.text()
	s.want(`,"fields":`)
	e.Fields = s.pairs()
	return e
}
