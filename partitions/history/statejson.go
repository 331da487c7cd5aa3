package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// The JSON forms of the states, as in the lines of a state.ndjson and of blocks. An index
// uses them as values.

// MarshalJSON writes the fields under their json tags, with strings as in events.
func (m MailboxState) MarshalJSON() ([]byte, error) {
	return m.append(nil)
}

func (m *MailboxState) append(dst []byte) ([]byte, error) {
	dst = strconv.AppendUint(append(dst, `{"seq":`...), m.Seq, 10)
	dst = appendUniqueID(dst, m.UniqueID)
	dst = dlist.AppendJSONString(append(dst, `,"name":`...), m.Name)
	dst = dlist.AppendJSONPairs(append(dst, `,"fields":`...), m.Fields)
	dst = strconv.AppendUint(append(dst, `,"commit":`...), m.Commit, 10)
	dst = strconv.AppendInt(append(dst, `,"records":`...), int64(m.Records), 10)
	dst = strconv.AppendInt(append(dst, `,"live":`...), int64(m.Live), 10)
	dst = strconv.AppendUint(append(dst, `,"top_uid":`...), uint64(m.TopUID), 10)
	dst = appendCRC(append(dst, `,"crc":`...), m.CRC)
	var err error
	if !m.Deleted.IsZero() {
		dst, err = appendTime(append(dst, `,"deleted":`...), m.Deleted)
	}
	if m.MovedTo != "" {
		dst = dlist.AppendJSONString(append(dst, `,"moved_to":`...), m.MovedTo)
	}
	if m.Resync != "" {
		dst = dlist.AppendJSONString(append(dst, `,"resync":`...), m.Resync)
	}
	return append(dst, '}'), err
}

// UnmarshalJSON reads the output of MarshalJSON.
func (m *MailboxState) UnmarshalJSON(b []byte) error {
	if m.scan(b) {
		return nil
	}
	return m.decode(b)
}

// decode reads a line in any form.
func (m *MailboxState) decode(b []byte) error {
	*m = MailboxState{}
	d := json.NewDecoder(bytes.NewReader(b))
	err := eachKey(d, func(key string) error { return decodeField(d, reflect.ValueOf(m).Elem(), key) })
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return fmt.Errorf("mailbox %q: %w", m.UniqueID, err)
	}
	return nil
}

// scan reads the exact form that append writes. It returns false for any other line.
func (m *MailboxState) scan(b []byte) bool {
	s := scanner{exactjson.Over(b)}
	*m = MailboxState{}
	s.mailboxState(m)
	return s.Ended() && m.check() == nil
}

func (s *scanner) mailboxState(m *MailboxState) {
	s.Want(`{"seq":`)
	m.Seq = s.number()
	s.Want(`,"uniqueid":`)
	m.UniqueID = s.text()
	s.Want(`,"name":`)
	m.Name = s.text()
	s.Want(`,"fields":`)
	m.Fields = s.pairs()
	s.Want(`,"commit":`)
	m.Commit = s.number()
	s.Want(`,"records":`)
	m.Records = int(s.number())
	s.Want(`,"live":`)
	m.Live = int(s.number())
	s.Want(`,"top_uid":`)
	m.TopUID = s.number32()
	s.Want(`,"crc":{"basic":`)
	m.CRC.Basic = s.number32()
	s.Want(`,"annot":`)
	m.CRC.Annot = s.number32()
	s.Want(`,"annot_padded":`)
	m.CRC.AnnotPadded = s.number32()
	s.Want(`}`)
	if s.Has(`,"deleted":`) {
		m.Deleted = s.time()
	}
	if s.Has(`,"moved_to":`) {
		m.MovedTo = s.text()
	}
	if s.Has(`,"resync":`) {
		m.Resync = s.text()
	}
	s.Want(`}`)
}

func (m *MailboxState) check() error {
	if m.Seq == 0 || m.Records < m.Live || m.Live < 0 {
		return errors.New("invalid seq or counts")
	}
	return nil
}

// appendCRC writes the three sums as numbers.
func appendCRC(dst []byte, c cyrus.CRC) []byte {
	dst = append(dst, `{"basic":`...)
	dst = strconv.AppendUint(dst, uint64(c.Basic), 10)
	dst = append(dst, `,"annot":`...)
	dst = strconv.AppendUint(dst, uint64(c.Annot), 10)
	dst = append(dst, `,"annot_padded":`...)
	dst = strconv.AppendUint(dst, uint64(c.AnnotPadded), 10)
	return append(dst, '}')
}

func decodeCRC(d *json.Decoder, c *cyrus.CRC) error {
	var o struct {
		Basic       *uint32 `json:"basic"`
		Annot       *uint32 `json:"annot"`
		AnnotPadded *uint32 `json:"annot_padded"`
	}
	if err := d.Decode(&o); err != nil {
		return err
	}
	if o.Basic == nil || o.Annot == nil || o.AnnotPadded == nil {
		return errors.New("want basic, annot and annot_padded")
	}
	*c = cyrus.CRC{Basic: *o.Basic, Annot: *o.Annot, AnnotPadded: *o.AnnotPadded}
	return nil
}

// MarshalJSON writes {"commit":…,"deleted":…,"event":{…}}, from which ItemOf derives the key.
func (i ItemState) MarshalJSON() ([]byte, error) {
	dst := append([]byte(nil), `{"commit":`...)
	dst = strconv.AppendUint(dst, i.Commit, 10)
	var err error
	if !i.Deleted.IsZero() {
		dst = append(dst, `,"deleted":`...)
		if dst, err = appendTime(dst, i.Deleted); err != nil {
			return nil, err
		}
	}
	dst = append(dst, `,"event":`...)
	if dst, err = AppendEvent(dst, i.Event); err != nil {
		return nil, err
	}
	dst[len(dst)-1] = '}' // replaces the newline
	return dst, nil
}

// UnmarshalJSON reads the output of MarshalJSON.
func (i *ItemState) UnmarshalJSON(b []byte) error {
	if i.scan(b) {
		return nil
	}
	return i.decode(b)
}

// decode reads a line in any form.
func (i *ItemState) decode(b []byte) error {
	*i = ItemState{}
	d := json.NewDecoder(bytes.NewReader(b))
	err := eachKey(d, func(key string) error {
		switch key {
		case "commit":
			return d.Decode(&i.Commit)
		case "deleted":
			err := d.Decode(&i.Deleted)
			i.Deleted = i.Deleted.UTC()
			return err
		case "event":
			var raw json.RawMessage
			err := d.Decode(&raw)
			if err == nil {
				i.Event, err = ParseEvent(raw)
			}
			return err
		}
		return errors.New("unknown key")
	})
	if err != nil {
		return fmt.Errorf("item: %w", err)
	}
	if i.Event == nil {
		return errors.New("item without an event")
	}
	return i.setKey()
}

// setKey derives the key from the event.
func (i *ItemState) setKey() error {
	key, removed, ok := ItemOf(i.Event)
	if !ok || removed {
		return fmt.Errorf("item: %s event is not a state", i.Event.Kind())
	}
	i.Key = key
	return nil
}

// scan reads the exact form that MarshalJSON writes. It returns false for any other line.
func (i *ItemState) scan(b []byte) bool {
	*i = ItemState{}
	s := scanner{exactjson.Over(b)}
	s.Want(`{"commit":`)
	i.Commit = s.number()
	if s.Has(`,"deleted":`) {
		i.Deleted = s.time()
	}
	s.Want(`,"event":`)
	n := len(s.B) - 1
	if !s.OK || n < 0 || s.B[n] != '}' {
		return false
	}
	var err error
	if i.Event, err = ParseEvent(s.B[:n]); err != nil {
		return false
	}
	return i.setKey() == nil
}
