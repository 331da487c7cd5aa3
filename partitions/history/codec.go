package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// newEvent returns an empty event of the kind. It returns nil for an unknown kind.
func newEvent(kind string) Event {
	switch kind {
	case "mailbox":
		return new(MailboxEvent)
	case "records":
		return new(RecordsEvent)
	case "recordblocks":
		return new(RecordBlocksEvent)
	case "complete":
		return new(CompleteEvent)
	case "expunge":
		return new(ExpungeEvent)
	case "messages":
		return new(MessagesEvent)
	case "rename":
		return new(RenameEvent)
	case "unmailbox":
		return new(UnmailboxEvent)
	case "resync":
		return new(ResyncEvent)
	case "sub":
		return new(SubEvent)
	case "seen":
		return new(SeenEvent)
	case "sieve":
		return new(SieveEvent)
	case "unsieve":
		return new(UnsieveEvent)
	case "sieve-active":
		return new(SieveActiveEvent)
	case "quota":
		return new(QuotaEvent)
	case "unquota":
		return new(UnquotaEvent)
	case "annotation":
		return new(AnnotationEvent)
	case "unuser":
		return new(UnuserEvent)
	case "adopted":
		return new(AdoptedEvent)
	case "moved-away":
		return new(MovedAwayEvent)
	case "prune":
		return new(PruneEvent)
	case "retained":
		return new(RetainedEvent)
	case "bridged":
		return new(BridgedEvent)
	case "lost":
		return new(LostEvent)
	case "erased":
		return new(ErasedEvent)
	case "locked":
		return new(LockedEvent)
	case "sealed":
		return new(SealedEvent)
	}
	return nil
}

// AppendEvent appends e as a line of commit.ndjson, with a newline. e is a pointer to
// one of the event types of this package.
func AppendEvent(dst []byte, e Event) ([]byte, error) {
	dst = append(dst, `{"event":"`...)
	dst = append(dst, e.Kind()...)
	dst = append(dst, '"')
	var err error
	switch e := e.(type) {
	case *RecordsEvent:
		dst = e.append(dst)
	case *MessagesEvent:
		dst = e.append(dst)
	case *RecordBlocksEvent:
		dst = e.append(dst)
	case *MailboxEvent:
		dst = e.append(dst)
	default: // rare
		dst, err = appendFields(dst, reflect.ValueOf(e).Elem(), true)
	}
	if err != nil {
		return dst, fmt.Errorf("%s event: %w", e.Kind(), err)
	}
	return append(dst, '}', '\n'), nil
}

// ParseEvent reads a line of AppendEvent. The newline is optional.
func ParseEvent(line []byte) (Event, error) {
	if !utf8.Valid(line) {
		return nil, fmt.Errorf("%w: event is not UTF-8", ErrCorrupt)
	}
	e := scanEvent(line)
	if e == nil {
		var err error
		if e, err = decodeEvent(line); err != nil {
			return nil, err
		}
	}
	if blocks, ok := e.(*RecordBlocksEvent); ok {
		if err := blocks.check(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// decodeEvent reads an event in any form.
func decodeEvent(line []byte) (Event, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	var kind string
	var e Event
	err := eachKey(d, func(key string) error {
		if e == nil {
			if key != "event" {
				return fmt.Errorf(`first key is %q, want "event"`, key)
			}
			if err := d.Decode(&kind); err != nil {
				return err
			}
			if e = newEvent(kind); e == nil {
				return fmt.Errorf("unknown event %q", kind)
			}
			return nil
		}
		return decodeField(d, reflect.ValueOf(e).Elem(), key)
	})
	if err == nil && e == nil {
		err = errors.New("empty event")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s event: %w", ErrCorrupt, kind, err)
	}
	return e, nil
}

// eachKey calls fn for each key of the single object in d; fn decodes the value.
func eachKey(d *json.Decoder, fn func(key string) error) error {
	if t, err := d.Token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return fmt.Errorf("have %v, want an object", t)
	}
	seen := make(map[string]bool, 16)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if seen[key] {
			return fmt.Errorf("duplicate key %q", key)
		}
		seen[key] = true
		if err := fn(key); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the object")
	}
	return nil
}

// appendFields appends the fields of a struct under their json tags, with a comma before
// the first field if comma is set. encoding/json would replace bytes that are not UTF-8
// instead of keeping them.
func appendFields(dst []byte, v reflect.Value, comma bool) ([]byte, error) {
	t := v.Type()
	for i := range t.NumField() {
		name, opt, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" || (strings.HasPrefix(opt, "omit") && isZero(v.Field(i))) {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(dst, '"')
		dst = append(dst, name...)
		dst = append(dst, '"', ':')
		var err error
		if dst, err = appendField(dst, v.Field(i)); err != nil {
			return dst, fmt.Errorf("%s: %w", name, err)
		}
	}
	return dst, nil
}

// isZero treats a time as zero in any location.
func isZero(v reflect.Value) bool {
	if t, ok := v.Interface().(time.Time); ok {
		return t.IsZero()
	}
	return v.IsZero()
}

func appendField(dst []byte, v reflect.Value) ([]byte, error) {
	switch x := v.Interface().(type) {
	case string:
		return dlist.AppendJSONString(dst, x), nil
	case *string:
		if x == nil {
			return append(dst, "null"...), nil
		}
		return dlist.AppendJSONString(dst, *x), nil
	case []dlist.Pair:
		return dlist.AppendJSONPairs(dst, x), nil
	case cyrus.GUID:
		return appendHex(dst, x[:]), nil
	case time.Time:
		return appendTime(dst, x)
	case cyrus.CRC:
		return appendCRC(dst, x), nil
	case []cyrus.GUID:
		return appendList(dst, x, func(dst []byte, g cyrus.GUID) ([]byte, error) { return appendHex(dst, g[:]), nil })
	}
	b, err := json.Marshal(v.Interface())
	return append(dst, b...), err
}

func appendList[T any](dst []byte, list []T, one func([]byte, T) ([]byte, error)) ([]byte, error) {
	dst = append(dst, '[')
	for i, x := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = one(dst, x); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// appendTime appends a time in UTC, to the nanosecond.
func appendTime(dst []byte, t time.Time) ([]byte, error) {
	b, err := t.UTC().MarshalJSON()
	return append(dst, b...), err
}

// decodeField decodes the value of key into the field with that json tag.
func decodeField(d *json.Decoder, v reflect.Value, key string) error {
	t := v.Type()
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name == key && name != "-" {
			return decodeValue(d, v.Field(i))
		}
	}
	return errors.New("unknown key")
}

func decodeValue(d *json.Decoder, v reflect.Value) error {
	switch p := v.Addr().Interface().(type) {
	case *string:
		return d.Decode((*dlist.JSONString)(p))
	case **string:
		var s *dlist.JSONString
		if err := d.Decode(&s); err != nil {
			return err
		}
		*p = (*string)(s)
		return nil
	case *cyrus.GUID:
		return decodeHex(d, p[:])
	case *time.Time:
		err := d.Decode(p)
		*p = p.UTC()
		return err
	case *cyrus.CRC:
		return decodeCRC(d, p)
	case *[]cyrus.GUID:
		return decodeGUIDs(d, p)
	case *[]*cyrus.Record:
		return decodeRecords(d, p)
	}
	return d.Decode(v.Addr().Interface())
}
