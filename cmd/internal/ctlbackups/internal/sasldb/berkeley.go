package sasldb

import (
	"encoding/hex"
	"io"
	"strings"
)

// readBerkeley reads what db_dump and mdb_dump write: a header, then a line for each key and each value, which begins
// with a space. Several databases may follow each other.
func readBerkeley(l *lines, first string, fn func(Entry) error) error {
	for line := first; ; {
		decode, err := berkeleyHeader(l, line)
		if err == nil {
			err = berkeleyRecords(l, decode, fn)
		}
		if err != nil {
			return err
		}
		if line, err = l.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// berkeleyHeader returns the function that decodes a key or a value.
func berkeleyHeader(l *lines, line string) (decode func(string) ([]byte, bool), err error) {
	printed, lmdb := false, false
	for ; line != "HEADER=END"; line, err = l.more() {
		if err != nil {
			return nil, err
		}
		switch name, value, found := strings.Cut(line, "="); {
		case !found:
			return nil, l.fault("the header has no end")
		case name == "VERSION" && value != "2" && value != "3":
			return nil, l.fault("the version of the dump is neither 2 nor 3")
		case name == "format" && value == "bytevalue":
			decode = unhex
		case name == "format" && value == "print":
			decode, printed = unescape, true
		case name == "format":
			return nil, l.fault("the format is neither bytevalue nor print")
		case name == "mapsize":
			lmdb = true
		case name == "type" && value != "hash" && value != "btree", name == "keys" && value == "0":
			return nil, l.fault("a database of this type has no keys: this is not a sasldb")
		}
	}
	if err != nil {
		return nil, err
	}
	switch {
	case decode == nil:
		return nil, l.fault("the header has no format")
	case printed && lmdb: // mdb_dump.c: text
		return nil, l.fault("mdb_dump -p does not escape a backslash: dump without -p")
	}
	return decode, nil
}

func berkeleyRecords(l *lines, decode func(string) ([]byte, bool), fn func(Entry) error) error {
	for {
		line, err := l.more()
		if err != nil {
			return err
		}
		if line == "DATA=END" {
			return nil
		}
		key, err := datum(l, line, decode)
		if err != nil {
			return err
		}
		if line, err = l.more(); err != nil {
			return err
		}
		value, err := datum(l, line, decode)
		if err != nil {
			return err
		}
		e, err := entry(l, key, value)
		if err == nil {
			err = fn(e)
		}
		if err != nil {
			return err
		}
	}
}

func datum(l *lines, line string, decode func(string) ([]byte, bool)) ([]byte, error) {
	if text, found := strings.CutPrefix(line, " "); found {
		if b, ok := decode(text); ok {
			return b, nil
		}
	}
	return nil, l.fault("it is not a key or a value of the format in the header")
}

func unhex(s string) ([]byte, bool) {
	b, err := hex.DecodeString(s)
	return b, err == nil
}

// unescape decodes what the option -p of db_dump writes: two backslashes for one, and a backslash
// and two digits for a byte that is not printable.
func unescape(s string) ([]byte, bool) {
	out := make([]byte, 0, len(s))
	for {
		before, after, found := strings.Cut(s, `\`)
		out = append(out, before...)
		if !found {
			return out, true
		}
		if rest, doubled := strings.CutPrefix(after, `\`); doubled {
			out, s = append(out, '\\'), rest
			continue
		}
		if len(after) < 2 {
			return nil, false
		}
		b, ok := unhex(after[:2])
		if !ok {
			return nil, false
		}
		out, s = append(out, b...), after[2:]
	}
}
