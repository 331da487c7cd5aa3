package cyrus

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// recordList returns n records as Cyrus sends them.
func recordList(n int) string {
	var b strings.Builder
	b.WriteString("(")
	for i := range n {
		fmt.Fprintf(&b, `%%(UID %d MODSEQ %d LAST_UPDATED 1700000000 FLAGS (\Seen $Label1) INTERNALDATE 1699999990 SIZE 4711 GUID %040x`+
			` ANNOTATIONS (%%(ENTRY /vendor/cmu/cyrus-imapd/savedate USERID "" MODSEQ 0 VALUE %d) %%(ENTRY /comment USERID "" MODSEQ 0 VALUE NIL))) `, i+1, i+2, i, i)
	}
	return b.String() + ")"
}

// Records that pass through a reader cost one allocation each: the values of annotations.
func TestRecordReaderAllocations(t *testing.T) {
	const n = 1000
	in := recordList(n)
	var rr RecordReader
	allocs := testing.AllocsPerRun(5, func() {
		d := decoder(in)
		l, err := d.Members()
		for i := 0; ; i++ {
			ok, err := l.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if _, err = rr.Read(d); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 1.1*n {
		t.Errorf("%.0f allocations for %d records", allocs, n)
	}
}

func TestCloneOutlivesTheReader(t *testing.T) {
	d := decoder(recordList(2))
	l, err := d.Members()
	if err != nil {
		t.Fatal(err)
	}
	var rr RecordReader
	next := func() *Record {
		t.Helper()
		if ok, err := l.Next(); !ok || err != nil {
			t.Fatal(ok, err)
		}
		r, err := rr.Read(d)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := next().Clone()
	next()
	want, err := ReadRecord(decoder(recordList(1)[1:]))
	if err != nil {
		t.Fatal(err)
	}
	if !first.Equal(want) || !reflect.DeepEqual(first, want) {
		t.Errorf("%+v, want %+v", first, want)
	}
}

func TestRecordEqual(t *testing.T) {
	value, other := "x", "y"
	make := func(change func(*Record)) *Record {
		r := &Record{UID: 1, ModSeq: 2, LastUpdated: 3, Flags: []string{"a"}, InternalDate: 4, Size: 5, GUID: GUID{6},
			Annotations: []Annotation{{Entry: "/e", UserID: "u", ModSeq: 7, Value: &value}},
			Extra:       []dlist.Pair{dlist.P("K", dlist.L(dlist.S("v")))}}
		if change != nil {
			change(r)
		}
		return r
	}
	if !make(nil).Equal(make(nil)) {
		t.Error("equal records differ")
	}
	for i, change := range []func(*Record){
		func(r *Record) { r.UID++ },
		func(r *Record) { r.ModSeq++ },
		func(r *Record) { r.LastUpdated++ },
		func(r *Record) { r.InternalDate++ },
		func(r *Record) { r.Size++ },
		func(r *Record) { r.GUID[19]++ },
		func(r *Record) { r.Flags = []string{"b"} },
		func(r *Record) { r.Flags = nil },
		func(r *Record) { r.Annotations = nil },
		func(r *Record) { r.Annotations[0].Entry = "/f" },
		func(r *Record) { r.Annotations[0].UserID = "" },
		func(r *Record) { r.Annotations[0].ModSeq++ },
		func(r *Record) { r.Annotations[0].Value = nil },
		func(r *Record) { r.Annotations[0].Value = &other },
		func(r *Record) { r.Annotations[0].Extra = []dlist.Pair{dlist.P("K", dlist.S("v"))} },
		func(r *Record) { r.Extra = nil },
		func(r *Record) { r.Extra[0].Key = "L" },
		func(r *Record) { r.Extra[0].Value = dlist.L(dlist.S("w")) },
	} {
		if r := make(change); r.Equal(make(nil)) || make(nil).Equal(r) {
			t.Errorf("change %d is not seen", i)
		}
	}
}
