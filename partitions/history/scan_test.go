package history

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// The fast way to read each kind of line, and encoding/json. ok of fast is false for a line
// that it leaves to encoding/json.
var ways = []struct {
	name string
	fast func([]byte) (any, bool)
	full func([]byte) (any, error)
}{
	{"event", func(b []byte) (any, bool) { e := scanEvent(b); return e, e != nil },
		func(b []byte) (any, error) { return decodeEvent(b) }},
	{"message", func(b []byte) (any, bool) {
		m := new(MessageState)
		return m, m.scan(b, new([]ChunkID)) && m.check() == nil
	},
		func(b []byte) (any, error) { m := new(MessageState); return m, m.decode(b) }},
	{"place", func(b []byte) (any, bool) {
		p, ok := scanPlace(b, "packs/x")
		ok = ok && p.check() == nil
		return p, ok
	},
		func(b []byte) (any, error) { return decodePlace(b) }},
	{"header", func(b []byte) (any, bool) {
		var h Header
		ok := h.scan(b, versionLoss) && h.Number > 0 && h.Number <= maxNumber
		return h, ok
	},
		func(b []byte) (any, error) { return decodeHeader(b) }},
	{"state line", func(b []byte) (any, bool) { l := new(stateLine); return l, l.scan(b) },
		func(b []byte) (any, error) { return decodeStateLine(b) }},
	{"block place", func(b []byte) (any, bool) { var p blockPlace; ok := p.scan(b, "packs/x"); return p, ok },
		func(b []byte) (any, error) { return decodeBlockPlace(b) }},
}

// agree checks that both ways to read a line have the same result.
func agree(t failer, line []byte) {
	t.Helper()
	for _, w := range ways {
		fast, ok := w.fast(line)
		if !ok {
			continue
		}
		full, err := w.full(line)
		if err != nil {
			t.Fatal(w.name, string(line), err)
		}
		if d := cmp.Diff(full, fast, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(w.name, string(line), d)
		}
	}
}

// A line of our own is read the fast way, and encoding/json reads the same from it.
func TestFastAndFullWayAgree(t *testing.T) {
	for _, l := range lineKinds(t) {
		agree(t, l.text)
	}
	rapid.Check(t, func(t *rapid.T) {
		line, err := AppendEvent(nil, anyEvent().Draw(t, "event"))
		if err != nil {
			t.Fatal(err)
		}
		agree(t, line)
		agree(t, bytes.TrimSuffix(line, []byte("\n")))
	})
}

// Reading a usual line of each kind takes few allocations.
func TestAllocationsOfLines(t *testing.T) {
	// The race detector adds a few: strings that otherwise stay on the stack.
	most := map[string]float64{"records": 8, "messages": 0.5, "recordblocks": 4, "mailbox": 80, "record": 12, "message": 4,
		"place": 4, "header": 12, "mailbox-state": 80}
	for _, l := range lineKinds(t) {
		got := testing.AllocsPerRun(10, func() {
			if err := l.parse(l.text); err != nil {
				t.Fatal(err)
			}
		}) / float64(l.items)
		if got > most[l.name] {
			t.Errorf("%s: %.1f allocations, want at most %.1f", l.name, got, most[l.name])
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, l := range lineKinds(f) {
		if len(l.text) < 4096 {
			f.Add(bytes.TrimSuffix(l.text, []byte("\n")))
		}
	}
	for _, line := range []string{
		`{"mailbox":{"seq":1,"uniqueid":"a","name":"b","fields":[["A","b"],["B",[{"flag":"\\x"},null]],["C",{"kv":[["a","b"]]}]],"commit":1,"records":1,"live":1,"top_uid":1,"crc":{"basic":1,"annot":2,"annot_padded":3},"deleted":"2026-11-20T12:00:00Z"}}`,
		`{"records":{"block":0,"count":1,"sha256":"ab"}}`,
		`{"item":{"commit":1,"event":{"event":"sub","user":"anne","name":"user.anne","subscribed":true}}}`,
		`{"places":"ab","number":1,"count":2,"object":"packs/x"}`,
		`{"event":"records","uniqueid":"a","records":[]}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		defer fuzztest.Limit(t, 1<<20+16<<10*int64(len(line)))()
		if bytes.ContainsRune(line, '�') {
			return
		}
		agree(t, line)
	})
}
