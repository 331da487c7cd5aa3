package dlist

import (
	"bufio"
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// FuzzDecode checks that every decoded value survives a round trip through the wire and
// through JSON, and that SkipLine reaches the end of the command wherever decoding failed.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"USER anne\r\n",
		"MESSAGE (%{default " + strings.Repeat("0a", 20) + " 3}\r\nabc NIL)\r\n",
		"MAILBOX %(ACL \"a\tb\t\" RECORD (%(UID 1 FLAGS (\\Seen $x) V {3+}\r\na\x00b)))\r\n",
		"X {9999999}\r\n", "X ((((\r\n", "X \"\\\"a\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		defer fuzztest.Limit(t, 256<<10+4<<10*int64(len(b)))()
		lim := Limits{MaxWord: 100, MaxQuoted: 100, MaxLiteral: 100, MaxDepth: 8, MaxItems: 1000}
		d := NewDecoder(bufio.NewReaderSize(bytes.NewReader(b), 16), lim)
		key, err := d.Key()
		var v Value
		if err == nil {
			v, err = d.Value()
		}
		if err == nil {
			err = d.End()
		}
		if err != nil {
			if malformed(err) {
				_ = d.SkipLine()
			}
			return
		}
		j, err := json.Marshal(Pair{key, v})
		if err != nil {
			t.Fatal(err)
		}
		var back Pair
		if err := json.Unmarshal(j, &back); err != nil {
			t.Fatalf("%s: %v", j, err)
		}
		if v.Kind != File && !hasFile(v) {
			wire := append(AppendPair(nil, back, true), "\r\n"...)
			d = NewDecoder(bufio.NewReader(bytes.NewReader(wire)), Limits{})
			key2, err := d.Key()
			if err != nil {
				t.Fatalf("%q: %v", wire, err)
			}
			v2, err := d.Value()
			if err != nil || key2 != key || !reflect.DeepEqual(v, v2) {
				t.Fatalf("%q: %v: %+v, want %+v", wire, err, v2, v)
			}
		}
	})
}

// hasFile reports whether v cannot be encoded by itself because the bytes of a file would
// be missing.
func hasFile(v Value) bool {
	for _, it := range v.Items {
		if it.Kind == File || hasFile(it) {
			return true
		}
	}
	for _, p := range v.Pairs {
		if p.Value.Kind == File || hasFile(p.Value) {
			return true
		}
	}
	return false
}
