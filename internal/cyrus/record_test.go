package cyrus

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"

	"pgregory.net/rapid"
)

func anyRecord() *rapid.Generator[*Record] {
	str := rapid.OneOf(rapid.String(), rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "bytes"))
	}), rapid.SampledFrom([]string{"", "NIL", thridEntry, "a b", `a"b\c`}))
	flag := rapid.OneOf(rapid.SampledFrom([]string{`\Seen`, `\Deleted`, "$Label1", "NIL"}), rapid.Custom(func(t *rapid.T) string {
		return "f" + str.Draw(t, "rest")
	}))
	extra := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) dlist.Pair {
		return dlist.P("X-"+str.Draw(t, "key"), rapid.SampledFrom([]dlist.Value{{}, dlist.S("\xff"), dlist.N(7), dlist.F(`\X`), dlist.KV(dlist.P("A", dlist.Value{}))}).Draw(t, "v"))
	}), 0, 2)
	none := func(p []dlist.Pair) []dlist.Pair {
		if len(p) == 0 {
			return nil
		}
		return p
	}
	return rapid.Custom(func(t *rapid.T) *Record {
		r := &Record{
			UID: rapid.Uint32().Draw(t, "uid"), ModSeq: rapid.Uint64().Draw(t, "modseq"),
			LastUpdated: rapid.Int64().Draw(t, "updated"), InternalDate: rapid.Int64().Draw(t, "internal"),
			Size: rapid.Uint32().Draw(t, "size"), Extra: none(extra.Draw(t, "extra")),
		}
		copy(r.GUID[:], rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "guid"))
		for range rapid.IntRange(0, 20).Draw(t, "flags") {
			r.Flags = append(r.Flags, flag.Draw(t, "flag"))
		}
		for range rapid.IntRange(0, 10).Draw(t, "annotations") {
			a := Annotation{Entry: str.Draw(t, "entry"), UserID: str.Draw(t, "userid"), ModSeq: rapid.Uint64().Draw(t, "m"), Extra: none(extra.Draw(t, "x"))}
			if rapid.Bool().Draw(t, "value?") {
				s := str.Draw(t, "value")
				a.Value = &s
			}
			r.Annotations = append(r.Annotations, a)
		}
		return r
	})
}

func TestRecordRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecord().Draw(t, "record")
		wire := r.AppendWire(nil, true)
		if want := dlist.Append(nil, r.DList(), true); !bytes.Equal(wire, want) {
			t.Fatalf("AppendWire %q\nDList %q", wire, want)
		}
		got, err := ReadRecord(decoder(string(wire)))
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%q: %v\ngot  %+v\nwant %+v", wire, err, got, r)
		}
		j := AppendJSON(nil, r)
		var back Record
		if err := json.Unmarshal(j, &back); err != nil || !reflect.DeepEqual(&back, r) {
			t.Fatalf("%s: %v\ngot  %+v\nwant %+v", j, err, back, r)
		}
	})
}

const sample = `%(UID 2 MODSEQ 7 LAST_UPDATED 1700000100 FLAGS (\Seen $Label1) INTERNALDATE 1700000050 SIZE 64 ` +
	`GUID 67f117aa6c06fb91b94f331d2e7ec5a686ae2227 ANNOTATIONS (%(ENTRY /comment USERID "" MODSEQ 7 VALUE hello)))`

func TestReadRecordRefuses(t *testing.T) {
	for _, c := range []struct{ old, new, msg string }{
		{"UID 2", "UID x", "RECORD uid 0: bad parameters: UID: want a 32-bit decimal number"},
		{"MODSEQ 7 LAST", "LAST", "RECORD uid 2: bad parameters: MODSEQ: is missing"},
		{"67f1", "67g1", "RECORD uid 2: bad parameters: GUID: want 40 hex digits"},
		{"SIZE 64", "SIZE 4294967296", "RECORD uid 2: bad parameters: SIZE: want a 32-bit decimal number"},
		{`(\Seen $Label1)`, "x", "RECORD uid 2: bad parameters: FLAGS: want a list, have a string"},
		{`\Seen`, "NIL", "RECORD uid 2: bad parameters: FLAGS: contains an empty flag"},
		{"ENTRY /comment", "", "RECORD uid 2: bad parameters: ENTRY: is missing"},
		{"VALUE hello", "", "RECORD uid 2: bad parameters: VALUE: is missing"},
	} {
		_, err := ReadRecord(decoder(strings.Replace(sample, c.old, c.new, 1)))
		if !errors.Is(err, ErrBadParameters) || !errors.Is(err, dlist.ErrField) || err.Error() != c.msg {
			t.Errorf("%s → %s: %v, want %s", c.old, c.new, err, c.msg)
		}
	}
	r, err := ReadRecord(decoder(strings.Replace(sample, " MODSEQ 7 VALUE", " VALUE", 1)))
	if err != nil || r.Annotations[0].ModSeq != 0 {
		t.Errorf("annotation without MODSEQ: %+v, %v", r, err)
	}
	r, err = ReadRecord(decoder(strings.Replace(sample, "UID 2", "UID 2 UID 3 NEW (x)", 1)))
	if err != nil || r.UID != 2 || len(r.Extra) != 2 {
		t.Errorf("repeated and unknown keys: %+v, %v", r, err)
	}
}

func TestParseMailbox(t *testing.T) {
	parse := func(s string) (*Mailbox, Since, error) {
		v, err := decoder(s).Value()
		if err != nil {
			t.Fatal(err)
		}
		return ParseMailbox(v.Pairs)
	}
	full := `%(UNIQUEID 3a MBOXNAME user.anne MBOXTYPE NIL SYNC_CRC 5 SYNC_CRC_ANNOT 6 LAST_UID 1 HIGHESTMODSEQ 4 RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 ` +
		`POP3_LAST_LOGIN 0 UIDVALIDITY 9 PARTITION default ACL "" OPTIONS P NEW (1) SINCE_MODSEQ 3 SINCE_CRC 1 SINCE_CRC_ANNOT 2 RECORD ())`
	m, since, err := parse(full)
	if err != nil || m.UniqueID != "3a" || m.Type != "" || m.SyncCRC != 5 || m.LastUID != 1 || m.UIDValidity != 9 || m.Partition != "default" {
		t.Errorf("%+v, %v", m, err)
	}
	if since != (Since{true, 3, 1, 2}) || len(m.Fields) != 16 || m.Fields[15].Key != "NEW" {
		t.Errorf("%+v, %+v", since, m.Fields)
	}
	for _, key := range []string{"UNIQUEID 3a", "MBOXNAME user.anne", "LAST_UID 1", "HIGHESTMODSEQ 4", "RECENTUID 0", "RECENTTIME 0", "LAST_APPENDDATE 0", "POP3_LAST_LOGIN 0", "UIDVALIDITY 9", "PARTITION default", `ACL ""`, "OPTIONS P"} {
		_, _, err := parse(strings.Replace(full, key, "X y", 1))
		name, _, _ := strings.Cut(key, " ")
		if !errors.Is(err, ErrBadParameters) || !strings.Contains(err.Error(), name+": is missing") {
			t.Errorf("without %s: %v", key, err)
		}
	}
	m, since, err = parse(`%(UNIQUEID 3a MBOXNAME user.anne.a MBOXTYPE ei HIGHESTMODSEQ 4 CREATEDMODSEQ 1 FOLDERMODSEQ 1)`)
	if err != nil || !m.Intermediate() || m.Deleted() || since.Set {
		t.Errorf("intermediate: %+v, %v", m, err)
	}
}

func BenchmarkReadRecord(b *testing.B) {
	var buf bytes.Buffer
	buf.WriteString("(")
	for i := range 20000 {
		fmt.Fprintf(&buf, `%%(UID %d MODSEQ %d LAST_UPDATED 1700000000 FLAGS (\Seen $Label1) INTERNALDATE 1699999990 SIZE 4711 GUID %040x`+
			` ANNOTATIONS (%%(ENTRY /vendor/cmu/cyrus-imapd/savedate USERID "" MODSEQ 0 VALUE 1795452142) %%(ENTRY /vendor/cmu/cyrus-imapd/createdmodseq USERID "" MODSEQ 0 VALUE %d))) `, i+1, i+2, i, i)
	}
	buf.WriteString(")")
	in := buf.String()
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		d := decoder(in)
		if err := d.List(func() error { _, err := ReadRecord(d); return err }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(20000*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkRecordJSON(b *testing.B) {
	r, err := ReadRecord(decoder(sample))
	if err != nil {
		b.Fatal(err)
	}
	j := AppendJSON(nil, r)
	slow := append([]byte(" "), j...)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			j = AppendJSON(j[:0], r)
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := new(Record).UnmarshalJSON(j); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unmarshal-any", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := new(Record).UnmarshalJSON(slow); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("crc", func(b *testing.B) {
		b.ReportAllocs()
		c := NewCRC()
		for b.Loop() {
			c.Add(r)
		}
	})
}

// endlessly is a record that never ends.
type endlessly struct {
	head, more string
	read       int64
}

func (e *endlessly) Read(b []byte) (int, error) {
	n := copy(b, e.head)
	if e.head = e.head[n:]; e.head == "" {
		e.head = e.more
	}
	e.read += int64(n)
	return n, nil
}

func TestReadRecordIsBounded(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	for what, e := range map[string]*endlessly{
		"fields":               {head: "%(UID 1 ", more: "NEW " + long + " "},
		"flags":                {head: "%(UID 1 FLAGS (", more: long + " "},
		"annotations":          {head: "%(UID 1 ANNOTATIONS (", more: `%(ENTRY /comment USERID "" VALUE ` + long + ") "},
		"fields of annotation": {head: "%(UID 1 ANNOTATIONS (%(", more: "NEW " + long + " "},
	} {
		_, err := ReadRecord(dlist.NewDecoder(bufio.NewReader(e), dlist.Limits{}))
		if !errors.Is(err, ErrBadParameters) || e.read > maxRecord+(1<<20) {
			t.Errorf("endless %s: %v after %d bytes", what, err, e.read)
		}
	}
}
