package cyrus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// bad wraps an error about a field in ErrBadParameters and adds the field's context. Errors
// of the stream and its syntax stay unchanged.
func bad(what string, err error) error {
	if err == nil || !errors.Is(err, dlist.ErrField) || errors.Is(err, ErrBadParameters) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", what, ErrBadParameters, err)
}

// fields reads the members of a kvlist and stores the first error.
type fields struct {
	v   dlist.Value
	err error
}

func fieldsOf(what string, v dlist.Value) *fields {
	f := &fields{v: v}
	if v.Kind != dlist.KVList {
		f.err = &dlist.FieldError{Key: what, Msg: "want a kvlist, have a " + v.Kind.String()}
	}
	return f
}

// text is a mandatory string. NIL satisfies it (imap/dlist.c, dlist_getatom).
func (f *fields) text(key string) string {
	s, ok, err := f.v.Text(key)
	f.check(key, ok, err)
	return s
}

// buf is a mandatory binary string or NIL.
func (f *fields) buf(key string) *string {
	s, ok, err := f.v.Buf(key)
	f.check(key, ok, err)
	return s
}

func (f *fields) num32(key string) uint32 {
	n, ok, err := f.v.Num32(key)
	f.check(key, ok, err)
	return n
}

func (f *fields) num64(key string) uint64 {
	n, ok, err := f.v.Num64(key)
	f.check(key, ok, err)
	return n
}

func (f *fields) date(key string) int64 {
	n, ok, err := f.v.Date(key)
	f.check(key, ok, err)
	return n
}

func (f *fields) guid(key string) GUID {
	g, ok, err := f.v.GUID(key)
	f.check(key, ok, err)
	return g
}

func (f *fields) list(key string) []dlist.Value {
	l, ok, err := f.v.List(key)
	f.check(key, ok, err)
	return l
}

// MaxName limits the length of names, in bytes. Cyrus's longest, a mailbox with its path, has 4,096
// bytes. A name becomes part of an index key, and keys have a maximum length.
const MaxName = 4096

// name is a mandatory, non-empty string used as a name.
func (f *fields) name(key string) string {
	s := f.nameOrEmpty(key)
	if s == "" && f.err == nil {
		f.err = &dlist.FieldError{Key: key, Msg: "is empty"}
	}
	return s
}

// nameOrEmpty is like name, but "" is allowed and means the server or everybody.
func (f *fields) nameOrEmpty(key string) string {
	s := f.text(key)
	if len(s) > MaxName && f.err == nil {
		f.err = &dlist.FieldError{Key: key, Msg: fmt.Sprintf("is longer than %d bytes", MaxName)}
	}
	return s
}

// texts is a mandatory list of strings.
func (f *fields) texts(key string) []string {
	items := f.list(key)
	out := make([]string, 0, len(items))
	for _, it := range items {
		s, err := it.Scalar(key)
		f.check(key, true, err)
		out = append(out, s)
	}
	return out
}

func (f *fields) check(key string, present bool, err error) {
	switch {
	case f.err != nil:
	case err != nil:
		f.err = err
	case !present:
		f.err = &dlist.FieldError{Key: key, Msg: "is missing"}
	}
}

// without returns the pairs without the first pair of each key in keys. A second pair with
// such a key is kept, because the first one counts.
func without(pairs []dlist.Pair, keys ...string) []dlist.Pair {
	var out []dlist.Pair
	seen := make(map[string]bool, len(keys))
	for _, p := range pairs {
		if known(keys, p.Key) && !seen[p.Key] {
			seen[p.Key] = true
			continue
		}
		out = append(out, p)
	}
	return out
}

func known(keys []string, key string) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
}

// hasFlag compares case-insensitively, like Cyrus (imap/sync_support.c, sync_getflags).
func hasFlag(flags []string, flag string) bool {
	for _, f := range flags {
		if len(f) == len(flag) && strings.EqualFold(f, flag) {
			return true
		}
	}
	return false
}

// hasTypeFlag looks for a flag letter after the type letter (imap/mboxlist.c,
// mboxlist_string_to_mbtype).
func hasTypeFlag(mbtype string, flag byte) bool {
	return len(mbtype) > 1 && strings.IndexByte(mbtype[1:], flag) >= 0
}
