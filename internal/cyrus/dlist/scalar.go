package dlist

import (
	"encoding/hex"
	"strings"
)

// field makes an error that contains the beginning of the last key.
func (d *Decoder) field(msg string) error {
	return &FieldError{Key: strings.Clone(d.key[:min(len(d.key), internMaxLen)]), Msg: msg}
}

// Scalar reads a string, a flag or NIL. The bytes are valid until the next call. A value of
// another kind stays unread and returns an ErrField.
func (d *Decoder) Scalar() ([]byte, Kind, error) {
	k, err := d.Peek()
	if err != nil {
		return nil, k, err
	}
	switch k {
	case Nil:
		d.take(len("NIL"))
		return nil, k, nil
	case Flag:
		b, err := d.word()
		return b, k, err
	case String:
		b, err := d.astring()
		return b, k, err
	}
	return nil, k, d.field("want a string, have a " + k.String())
}

// Text reads a string. NIL returns "" and null.
func (d *Decoder) Text() (s string, null bool, err error) {
	b, k, err := d.Scalar()
	if err != nil {
		return "", false, err
	}
	s, err = d.text(b)
	return s, k == Nil, err
}

// Name is Text for recurring strings: a repeated string costs no allocation.
func (d *Decoder) Name() (s string, null bool, err error) {
	b, k, err := d.Scalar()
	if err != nil {
		return "", false, err
	}
	s, err = d.keep(b)
	return s, k == Nil, err
}

// Num64 reads an unsigned decimal number.
func (d *Decoder) Num64() (uint64, error) {
	b, _, err := d.Scalar()
	if err != nil {
		return 0, err
	}
	n, ok := parseNum(b, 1<<64-1)
	if !ok {
		return 0, d.field("want a 64-bit decimal number")
	}
	return n, nil
}

// Num32 reads an unsigned decimal number.
func (d *Decoder) Num32() (uint32, error) {
	b, _, err := d.Scalar()
	if err != nil {
		return 0, err
	}
	n, ok := parseNum(b, 1<<32-1)
	if !ok {
		return 0, d.field("want a 32-bit decimal number")
	}
	return uint32(n), nil
}

// Date reads seconds since the epoch. Cyrus prints an earlier time as the unsigned number
// of the same 64 bits.
func (d *Decoder) Date() (int64, error) {
	n, err := d.Num64()
	return int64(n), err
}

// GUID reads 40 hex digits.
func (d *Decoder) GUID() (g [20]byte, err error) {
	b, _, err := d.Scalar()
	if err != nil {
		return g, err
	}
	if len(b) != 40 {
		return g, d.field("want 40 hex digits")
	}
	if _, err := hex.Decode(g[:], b); err != nil {
		return g, d.field("want 40 hex digits")
	}
	return g, nil
}

// Value reads a whole value into memory, within Limits. It skips the bytes of files.
func (d *Decoder) Value() (Value, error) {
	b := budget{items: d.lim.MaxItems, bytes: d.lim.MaxBytes}
	return d.value(&b)
}

// budget is what one call of Value may still read.
type budget struct {
	items int
	bytes int64
}

func (d *Decoder) value(b *budget) (Value, error) {
	if b.items--; b.items < 0 {
		return Value{}, d.syntax("too many values")
	}
	if err := d.Hold(itemMemory); err != nil {
		return Value{}, err
	}
	k, err := d.Peek()
	if err != nil {
		return Value{}, err
	}
	v := Value{Kind: k}
	switch k {
	case List:
		err = d.List(func() error {
			it, err := d.value(b)
			v.Items = append(v.Items, it)
			return err
		})
	case KVList:
		err = d.KVList(func(key string) error {
			b.bytes -= int64(len(key))
			it, err := d.value(b)
			v.Pairs = append(v.Pairs, Pair{Key: key, Value: it})
			return err
		})
	case File:
		var guid string
		v.File, err = d.fileHead(func(w []byte) error {
			guid = string(w)
			return nil
		})
		v.File.GUID = guid
	default:
		var s []byte
		if s, _, err = d.Scalar(); err == nil {
			if b.bytes -= int64(len(s)); b.bytes < 0 {
				return Value{}, d.syntax("value too large")
			}
			v.Str, err = d.text(s)
		}
	}
	if err != nil {
		return Value{}, err
	}
	return v, nil
}

// text makes a string of a scalar, and frees the memory that a large one was read into.
func (d *Decoder) text(b []byte) (string, error) {
	if err := d.Hold(int64(len(b))); err != nil {
		return "", err
	}
	s := string(b)
	if cap(d.scratch) > freeMemory {
		d.scratch = nil
	}
	return s, nil
}

// parseNum accepts a complete decimal string up to max, like lib/parsenum.
func parseNum[T string | []byte](s T, max uint64) (uint64, bool) {
	if len(s) == 0 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 || n > max/10 || n*10 > max-uint64(c) {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	return n, true
}
