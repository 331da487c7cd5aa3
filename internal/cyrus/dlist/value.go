// Package dlist reads and writes the data syntax of Cyrus replication
// (imap/dlist.c): the argument of GET and APPLY and the untagged replies.
package dlist

import "slices"

// Kind is the syntactic type of a Value on the wire. Numbers, dates, guids and plain
// strings are all scalars; the reader of a field decides which type it expects.
type Kind uint8

// The kinds of a Value.
const (
	Nil    Kind = iota // NIL, unquoted
	String             // atom, quoted string or literal
	Flag               // \Seen: begins with a backslash, printed unchanged
	List               // ( … )
	KVList             // %( … )
	File               // %{partition guid size} and its bytes; only the File fields are stored here
)

// Value is one dlist value in memory. Message bodies are never in memory; the Decoder
// returns them as streams.
type Value struct {
	Kind  Kind
	Str   string  // String: the bytes; Flag: with its backslash
	Items []Value // List
	Pairs []Pair  // KVList, in wire order, repetitions included
	File  FileInfo
}

// Pair is one key and value of a kvlist.
type Pair struct {
	Key   string
	Value Value
}

// FileInfo is the head of a file literal.
type FileInfo struct {
	Partition string
	GUID      string // 40 hex digits, unchanged
	Size      uint64 // bytes
}

// Get returns the first value with this key, as Cyrus's dlist_getchild does.
func (v Value) Get(key string) (Value, bool) {
	for _, p := range v.Pairs {
		if p.Key == key {
			return p.Value, true
		}
	}
	return Value{}, false
}

// Equal reports whether two values are the same, members in the same order.
func (v Value) Equal(o Value) bool {
	return v.Kind == o.Kind && v.Str == o.Str && v.File == o.File &&
		slices.EqualFunc(v.Items, o.Items, Value.Equal) && slices.EqualFunc(v.Pairs, o.Pairs, Pair.Equal)
}

// Equal reports whether key and value are the same.
func (p Pair) Equal(o Pair) bool { return p.Key == o.Key && p.Value.Equal(o.Value) }
