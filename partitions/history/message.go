package history

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// ParseChunkID reads 64 hex digits.
func ParseChunkID(s string) (ChunkID, error) {
	var c ChunkID
	return c, c.UnmarshalText([]byte(s))
}

func (c ChunkID) String() string { return hex.EncodeToString(c[:]) }

// MarshalText returns the same as String.
func (c ChunkID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, c[:]), nil }

// UnmarshalText reads 64 lower-case hex digits.
func (c *ChunkID) UnmarshalText(b []byte) error { return parseHex(c[:], b) }

// parseHex fills dst from exactly 2*len(dst) lower-case hex digits.
func parseHex(dst, src []byte) error {
	if !exactjson.ParseHex(dst, src) {
		return fmt.Errorf("%.80q: want %d lower-case hex digits", src, 2*len(dst))
	}
	return nil
}

func decodeHex(d *json.Decoder, dst []byte) error {
	var s string
	if err := d.Decode(&s); err != nil {
		return err
	}
	return parseHex(dst, []byte(s))
}

// decodeGUIDs reads the GUIDs of an event, at most MaxMessagesPerEvent of them.
func decodeGUIDs(d *json.Decoder, out *[]cyrus.GUID) error {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.Join(errors.New("want an array of GUIDs"), err)
	}
	for d.More() {
		if len(*out) == MaxMessagesPerEvent {
			return fmt.Errorf("more than %d GUIDs", MaxMessagesPerEvent)
		}
		var g cyrus.GUID
		if err := decodeHex(d, g[:]); err != nil {
			return err
		}
		*out = append(*out, g)
	}
	_, err := d.Token()
	return err
}

func appendHex(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = hex.AppendEncode(dst, b)
	return append(dst, '"')
}

// append appends m as a JSON object, without the closing brace unless closed is set.
func (m *Message) append(dst []byte, closed bool) []byte {
	dst = append(dst, `{"guid":`...)
	dst = appendHex(dst, m.GUID[:])
	dst = append(dst, `,"size":`...)
	dst = strconv.AppendInt(dst, m.Size, 10)
	dst = append(dst, `,"chunks":[`...)
	for i, c := range m.Chunks {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendHex(dst, c[:])
	}
	dst = append(dst, ']')
	if m.Missing {
		dst = append(dst, `,"missing":true`...)
	}
	if m.Private {
		dst = append(dst, `,"private":true`...)
	}
	if closed {
		dst = append(dst, '}')
	}
	return dst
}

// MarshalJSON writes {"guid":"…","size":…,"chunks":["…"]}, with "missing":true and
// "private":true if set.
func (m Message) MarshalJSON() ([]byte, error) { return m.append(nil, true), nil }

// UnmarshalJSON reads the output of MarshalJSON.
func (m *Message) UnmarshalJSON(b []byte) error {
	var s MessageState
	err := s.UnmarshalJSON(b)
	if err == nil && (s.Commit != 0 || s.Inline || !s.Erased.IsZero()) {
		err = errors.New("a message of an event has no commit")
	}
	*m = s.Message
	return err
}

// MarshalJSON writes the form of Message with "commit", and with "inline":true and "erased" if set.
func (m MessageState) MarshalJSON() ([]byte, error) { return m.append(nil), nil }

func (m *MessageState) append(dst []byte) []byte {
	dst = m.Message.append(dst, false)
	dst = append(dst, `,"commit":`...)
	dst = strconv.AppendUint(dst, m.Commit, 10)
	if m.Inline {
		dst = append(dst, `,"inline":true`...)
	}
	if !m.Erased.IsZero() {
		dst = append(dst, `,"erased":"`...)
		dst = append(m.Erased.UTC().AppendFormat(dst, time.RFC3339Nano), '"')
	}
	return append(dst, '}')
}

// UnmarshalJSON reads the output of MarshalJSON.
func (m *MessageState) UnmarshalJSON(b []byte) error {
	chunks := make([]ChunkID, 0, 1)
	return m.read(b, &chunks)
}

// read is UnmarshalJSON with memory for the chunks of many messages.
func (m *MessageState) read(b []byte, chunks *[]ChunkID) error {
	*m = MessageState{}
	if m.scan(b, chunks) {
		return m.check()
	}
	return m.decode(b)
}

// decode reads a line in any form.
func (m *MessageState) decode(b []byte) error {
	*m = MessageState{}
	d := json.NewDecoder(bytes.NewReader(b))
	err := eachKey(d, func(key string) error {
		switch key {
		case "commit":
			return d.Decode(&m.Commit)
		case "inline":
			return d.Decode(&m.Inline)
		case "erased":
			return d.Decode(&m.Erased)
		}
		return decodeField(d, reflect.ValueOf(&m.Message).Elem(), key)
	})
	if err != nil {
		return err
	}
	return m.check()
}

func (m *MessageState) check() error {
	switch {
	case m.GUID == cyrus.GUID{}:
		return errors.New("message without a guid")
	case m.Size < 0:
		return fmt.Errorf("message %s: size %d", m.GUID, m.Size)
	case m.Missing != (len(m.Chunks) == 0):
		return fmt.Errorf("message %s: %d chunks, missing %t", m.GUID, len(m.Chunks), m.Missing)
	case !m.Missing && !m.Erased.IsZero():
		return fmt.Errorf("message %s: erased, but not missing", m.GUID)
	}
	return nil
}

// scan reads the exact form that append writes, many times faster than encoding/json,
// because a backup has a line for each message. It returns false for any other line.
func (m *MessageState) scan(b []byte, chunks *[]ChunkID) bool {
	s := scanner{exactjson.Over(b)}
	s.message(&m.Message, chunks)
	if s.Has(`,"commit":`) {
		m.Commit = s.number()
	}
	m.Inline = s.Has(`,"inline":true`)
	if s.Has(`,"erased":`) {
		m.Erased = s.time()
	}
	s.Want(`}`)
	return s.Ended()
}
