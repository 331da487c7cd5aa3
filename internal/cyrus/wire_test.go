package cyrus

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// command is one recorded APPLY.
type command struct {
	key string
	v   dlist.Value
	raw []byte
}

func recorded(t testing.TB) []command {
	t.Helper()
	all, err := os.ReadFile("testdata/apply.wire")
	if err != nil {
		t.Fatal(err)
	}
	src := bytes.NewReader(all)
	br := bufio.NewReader(src)
	d := dlist.NewDecoder(br, dlist.Limits{})
	var out []command
	for start := 0; start < len(all); {
		d.Begin()
		key, err := d.Key()
		if err != nil {
			t.Fatal(err)
		}
		v, err := d.Value()
		if err == nil {
			err = d.End()
		}
		if err != nil {
			t.Fatalf("at %d: %v", start, err)
		}
		end := len(all) - src.Len() - br.Buffered()
		out = append(out, command{key, v, all[start:end]})
		start = end
	}
	return out
}

func TestRecordedCommandsRoundTrip(t *testing.T) {
	for _, c := range recorded(t) {
		if got := append(dlist.AppendPair(nil, dlist.P(c.key, c.v), true), "\r\n"...); !bytes.Equal(got, c.raw) {
			t.Errorf("wire\ngot  %.300q\nwant %.300q", got, c.raw)
		}
		j, err := json.Marshal(c.v)
		if err != nil {
			t.Fatal(err)
		}
		var back dlist.Value
		if err := json.Unmarshal(j, &back); err != nil {
			t.Fatal(err)
		}
		if got := append(dlist.AppendPair(nil, dlist.P(c.key, back), true), "\r\n"...); !bytes.Equal(got, c.raw) {
			t.Errorf("JSON\ngot  %.300q\nwant %.300q", got, c.raw)
		}
	}
}

// TestRecordedChecksums recomputes SYNC_CRC and SYNC_CRC_ANNOT of each mailbox that was
// uploaded whole, and converts its records to all their forms and back.
func TestRecordedChecksums(t *testing.T) {
	mailboxes, records, annotations, thrids := 0, 0, 0, 0
	for _, c := range recorded(t) {
		if c.key != "MAILBOX" {
			continue
		}
		m, since, err := ParseMailbox(c.v.Pairs)
		if err != nil {
			t.Fatalf("%.200q: %v", c.raw, err)
		}
		list, _ := c.v.Get("RECORD")
		crc := NewCRC()
		for _, item := range list.Items {
			r := throughAllForms(t, item)
			crc.Add(r)
			records++
			annotations += len(r.Annotations)
			thrids += strings.Count(string(AppendJSON(nil, r)), thridEntry)
		}
		if since.Set || m.SyncCRC == 0 && m.LastUID > 0 {
			continue
		}
		mailboxes++
		if crc.Basic != m.SyncCRC || crc.Annot != m.SyncCRCAnnot {
			t.Errorf("%s: %d records: CRC %d %d, client sent %d %d", m.Name, len(list.Items), crc.Basic, crc.Annot, m.SyncCRC, m.SyncCRCAnnot)
		}
	}
	t.Logf("%d whole mailboxes, %d records, %d annotations, %d thrids", mailboxes, records, annotations, thrids)
	if mailboxes < 50 || records < 200 || thrids == 0 {
		t.Errorf("only %d mailboxes, %d records, %d thrids in testdata", mailboxes, records, thrids)
	}
}

func throughAllForms(t *testing.T, item dlist.Value) *Record {
	t.Helper()
	wire := dlist.Append(nil, item, true)
	r, err := ReadRecord(dlist.NewDecoder(bufio.NewReader(bytes.NewReader(wire)), dlist.Limits{}))
	if err != nil {
		t.Fatalf("%q: %v", wire, err)
	}
	if got := dlist.Append(nil, r.DList(), true); !bytes.Equal(got, wire) {
		t.Errorf("DList\ngot  %q\nwant %q", got, wire)
	}
	if got := r.AppendWire(nil, true); !bytes.Equal(got, wire) {
		t.Errorf("AppendWire\ngot  %q\nwant %q", got, wire)
	}
	j := AppendJSON(nil, r)
	var fast, slow Record
	if !scanRecord(j, &fast) && !bytes.Contains(j, []byte(`"b64"`)) {
		t.Errorf("%s is not read by scanRecord", j)
	}
	if err := json.Unmarshal(append([]byte(" "), j...), &slow); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&slow, r) {
		t.Errorf("JSON %s\ngot  %+v\nwant %+v", j, slow, r)
	}
	return r
}

func TestParsersOnRecordedCommands(t *testing.T) {
	for _, c := range recorded(t) {
		var err error
		var again dlist.Value
		switch c.key {
		case "SEEN":
			var s Seen
			s, err = ParseSeen(c.v)
			again = s.DList()
		case "SIEVE":
			var s Sieve
			s, err = ParseSieve(c.v)
			again = s.DList()
		case "ANNOTATION":
			var a MailboxAnnotation
			a, err = ParseMailboxAnnotation(c.v)
			again = a.DList()
		case "QUOTA":
			var q Quota
			q, err = ParseQuota(c.v)
			again = dlist.KV(q.Fields...)
		case "RENAME":
			var r Rename
			r, err = ParseRename(c.v)
			if r.Old == "" || r.New == "" || r.Partition == "" {
				t.Errorf("%q: %+v", c.raw, r)
			}
		case "RESERVE":
			var guids []GUID
			_, _, guids, err = ParseReserve(c.v)
			if len(guids) == 0 {
				t.Errorf("%q: no guids", c.raw)
			}
		case "SUB", "UNSUB":
			_, _, err = ParseSub(c.v)
		case "UNSIEVE", "ACTIVATE_SIEVE":
			_, _, err = ParseUserFile(c.v)
		}
		if err != nil {
			t.Errorf("%q: %v", c.raw, err)
		}
		if again.Kind == dlist.KVList {
			if got := append(dlist.AppendPair(nil, dlist.P(c.key, again), true), "\r\n"...); !bytes.Equal(got, c.raw) {
				t.Errorf("got  %q\nwant %q", got, c.raw)
			}
		}
	}
}

func decoder(s string) *dlist.Decoder {
	return dlist.NewDecoder(bufio.NewReader(io.MultiReader(strings.NewReader(s))), dlist.Limits{})
}
