package dlist

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// String returns the kind's name, for messages.
func (k Kind) String() string {
	switch k {
	case Nil:
		return "NIL"
	case String:
		return "string"
	case Flag:
		return "flag"
	case List:
		return "list"
	case KVList:
		return "kvlist"
	case File:
		return "file"
	}
	return "kind " + strconv.Itoa(int(k))
}

// Text returns the string with this key and whether it is present. NIL returns "" and true.
// A value with a NUL is an error (imap/dlist.c, dlist_toatom).
func (v Value) Text(key string) (s string, present bool, err error) {
	c, ok, err := v.scalar(key)
	if err == nil && strings.IndexByte(c.Str, 0) >= 0 {
		return "", ok, &FieldError{Key: key, Msg: "contains NUL"}
	}
	return c.Str, ok, err
}

// Buf returns the bytes with this key, or nil for NIL (dlist_tomap).
func (v Value) Buf(key string) (s *string, present bool, err error) {
	c, ok, err := v.scalar(key)
	if err != nil || !ok || c.Kind == Nil {
		return nil, ok, err
	}
	return &c.Str, true, nil
}

// Num32 returns the unsigned decimal number with this key (dlist_tonum32).
func (v Value) Num32(key string) (n uint32, present bool, err error) {
	u, ok, err := v.num(key, 1<<32-1, "want a 32-bit decimal number")
	return uint32(u), ok, err
}

// Num64 returns the unsigned decimal number with this key (dlist_tonum64).
func (v Value) Num64(key string) (n uint64, present bool, err error) {
	return v.num(key, 1<<64-1, "want a 64-bit decimal number")
}

// Date returns the seconds since the epoch with this key; see Decoder.Date.
func (v Value) Date(key string) (t int64, present bool, err error) {
	u, ok, err := v.Num64(key)
	return int64(u), ok, err
}

// GUID returns the 40 hex digits with this key (dlist_toguid).
func (v Value) GUID(key string) (g [20]byte, present bool, err error) {
	c, ok, err := v.scalar(key)
	if err != nil || !ok {
		return g, ok, err
	}
	if len(c.Str) != 40 {
		return g, true, &FieldError{Key: key, Msg: "want 40 hex digits"}
	}
	if _, err := hex.Decode(g[:], []byte(c.Str)); err != nil {
		return g, true, &FieldError{Key: key, Msg: "want 40 hex digits"}
	}
	return g, true, nil
}

// List returns the members of the list with this key. NIL has none.
func (v Value) List(key string) (items []Value, present bool, err error) {
	c, ok := v.Get(key)
	if ok && c.Kind != List && c.Kind != Nil {
		return nil, true, &FieldError{Key: key, Msg: "want a list, have a " + c.Kind.String()}
	}
	return c.Items, ok, nil
}

// Scalar returns the string, flag or NIL (as "") in v. key is for the error.
func (v Value) Scalar(key string) (string, error) {
	switch v.Kind {
	case Nil, String, Flag:
		return v.Str, nil
	}
	return "", &FieldError{Key: key, Msg: "want a string, have a " + v.Kind.String()}
}

func (v Value) scalar(key string) (Value, bool, error) {
	c, ok := v.Get(key)
	if !ok {
		return c, false, nil
	}
	_, err := c.Scalar(key)
	return c, true, err
}

func (v Value) num(key string, max uint64, msg string) (uint64, bool, error) {
	c, ok, err := v.scalar(key)
	if err != nil || !ok {
		return 0, ok, err
	}
	n, valid := parseNum(c.Str, max)
	if !valid {
		return 0, true, &FieldError{Key: key, Msg: msg}
	}
	return n, true, nil
}

// ParseNum reads a complete unsigned decimal number of at most max. key is for the error.
func ParseNum(key, s string, max uint64) (uint64, error) {
	n, ok := parseNum(s, max)
	if !ok {
		return 0, &FieldError{Key: key, Msg: "want a decimal number up to " + strconv.FormatUint(max, 10)}
	}
	return n, nil
}
