// Package indexvalue is the binary form of the values in the index (package index has the
// table of keys). A value does not repeat its key. The format version of the index covers
// these forms: an index of another version is rebuilt from the buckets.
//
// A value begins with a byte of flags, and a block of records with the bits of its records. Numbers are varints (encoding/binary); a text is
// its length and its bytes. A Parse function returns an error that wraps ErrCorrupt for any
// bytes that the matching Append function cannot have written, and never reads outside them.
// What Parse functions return does not refer to their input.
package indexvalue
