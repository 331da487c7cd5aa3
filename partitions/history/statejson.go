package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// The JSON forms of the states, as in the lines of a state.ndjson and of blocks. An index
// uses them as values.

// MarshalJSON writes the fields under their json tags, with strings as in events.
func (m MailboxState) MarshalJSON() ([]byte, error) {
	dst, err := appendFields([]byte{'{'}, reflect.ValueOf(&m).Elem(), false)
	return append(dst, '}'), err
}

// UnmarshalJSON reads the output of MarshalJSON.
func (m *MailboxState) UnmarshalJSON(b []byte) error {
	*m = MailboxState{}
	d := json.NewDecoder(bytes.NewReader(b))
	err := eachKey(d, func(key string) error { return decodeField(d, reflect.ValueOf(m).Elem(), key) })
	if err == nil && (m.Seq == 0 || m.Records < m.Live || m.Live < 0) {
		err = errors.New("invalid seq or counts")
	}
	if err != nil {
		return fmt.Errorf("mailbox %q: %w", m.UniqueID, err)
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
	key, removed, ok := ItemOf(i.Event)
	if !ok || removed {
		return fmt.Errorf("item: %s event is not a state", i.Event.Kind())
	}
	i.Key = key
	return nil
}
