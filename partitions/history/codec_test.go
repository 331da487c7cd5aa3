package history

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// Any event, with any bytes from a client, is unchanged after encoding and decoding.
func TestEventRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyEvent().Draw(t, "event")
		line, err := AppendEvent(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("not one line: %q", line)
		}
		if !bytes.HasPrefix(line, []byte(`{"event":"`)) {
			t.Fatalf("event does not come first: %s", line)
		}
		got, err := ParseEvent(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%s: (-want +got)\n%s", line, d)
		}
		again, err := AppendEvent(nil, got)
		if err != nil || !bytes.Equal(again, line) {
			t.Fatalf("encoded differently the second time (%v):\n%s%s", err, line, again)
		}
	})
}

// Spaces and the order of keys do not matter.
func TestEventsInOtherForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyEvent().Draw(t, "event")
		line, err := AppendEvent(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := indent(&b, line); err != nil {
			t.Fatal(err)
		}
		got, err := ParseEvent(b.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", b.Bytes(), err)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("(-want +got)\n%s", d)
		}
	})
}

func TestInvalidEvents(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{``, "EOF"},
		{`{}`, "empty event"},
		{`[]`, "want an object"},
		{`{"event":"mailbxo"}`, `unknown event "mailbxo"`},
		{`{"uniqueid":"a","event":"complete"}`, `first key is "uniqueid"`},
		{`{"event":"complete","uniqueid":"a","uniqueid":"b"}`, "duplicate key"},
		{`{"event":"complete","uniqueid":"a","colour":1}`, "unknown key"},
		{`{"event":"complete","uniqueid":7}`, "uniqueid"},
		{`{"event":"complete","uniqueid":null}`, "uniqueid"},
		{`{"event":"complete","uniqueid":"a"} x`, "data after the object"},
		{`{"event":"complete","uniqueid":"a"`, "EOF"},
		{"{\"event\":\"complete\",\"uniqueid\":\"\xff\"}", "UTF-8"},
		{`{"event":"sieve","guid":"ABCDEF"}`, "40 lower-case hex digits"},
		{`{"event":"messages","messages":[{"guid":"` + strings.Repeat("a", 40) + `","size":1,"chunks":[]}]}`, "0 chunks, missing false"},
		{`{"event":"messages","messages":[{"guid":"` + strings.Repeat("a", 40) + `","size":-1,"chunks":["` + strings.Repeat("a", 64) + `"]}]}`, "size -1"},
	} {
		_, err := ParseEvent([]byte(tt.line))
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: have error %v, want one with %q", tt.line, err, tt.want)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, k := range kinds {
		line, err := AppendEvent(nil, newEvent(k))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add([]byte(`{"event":"records","uniqueid":"a","records":[{"uid":1,"modseq":"4","flags":["\\Seen"]},{"uid":2}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		defer fuzztest.Limit(t, 1<<20+4<<10*int64(len(line)))()
		e, err := ParseEvent(line)
		if err != nil {
			return
		}
		again, err := AppendEvent(nil, e)
		if err != nil {
			return // a year after 9999
		}
		if _, err := ParseEvent(again); err != nil {
			t.Fatalf("%s\n%s: %v", line, again, err)
		}
	})
}
