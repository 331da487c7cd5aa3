package indexvalue_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

func same(t *rapid.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("read something else (-written +read):\n%s", d)
	}
}

func guid(t *rapid.T) (g cyrus.GUID) {
	copy(g[:], rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "guid"))
	return g
}

func chunks(t *rapid.T, least, most int) (out []history.ChunkID) {
	for range rapid.IntRange(least, most).Draw(t, "chunks") {
		out = append(out, history.ChunkID(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "chunk")))
	}
	return out
}

func value(t *rapid.T, depth int) dlist.Value {
	kind := dlist.Kind(rapid.IntRange(0, 5).Draw(t, "kind"))
	v := dlist.Value{Kind: kind}
	switch kind {
	case dlist.Nil:
	case dlist.String, dlist.Flag:
		v.Str = rapid.String().Draw(t, "string")
	case dlist.List:
		if depth > 0 {
			for range rapid.IntRange(0, 3).Draw(t, "items") {
				v.Items = append(v.Items, value(t, depth-1))
			}
		}
	case dlist.KVList:
		if depth > 0 {
			v.Pairs = pairs(t, depth-1)
		}
	case dlist.File:
		v.File = dlist.FileInfo{Partition: "default", GUID: rapid.String().Draw(t, "file"), Size: rapid.Uint64().Draw(t, "bytes")}
	}
	return v
}

func pairs(t *rapid.T, depth int) (out []dlist.Pair) {
	for range rapid.IntRange(0, 4).Draw(t, "pairs") {
		key := rapid.OneOf(rapid.SampledFrom([]string{"ACL", "UIDVALIDITY", "X"}), rapid.String()).Draw(t, "key")
		out = append(out, dlist.Pair{Key: key, Value: value(t, depth)})
	}
	return out
}

func record(t *rapid.T) *history.RecordState {
	r := &history.RecordState{
		Commit: rapid.Uint64().Draw(t, "commit"), Expunged: rapid.Int64().Draw(t, "expunged"), Gone: rapid.Bool().Draw(t, "gone"),
		Record: cyrus.Record{
			UID: rapid.Uint32().Draw(t, "uid"), ModSeq: rapid.Uint64().Draw(t, "modseq"),
			LastUpdated: rapid.Int64().Draw(t, "updated"), InternalDate: rapid.Int64().Draw(t, "date"),
			Size: rapid.Uint32().Draw(t, "size"), GUID: guid(t), Extra: pairs(t, 2),
			Flags: rapid.SliceOf(rapid.OneOf(rapid.SampledFrom([]string{`\Seen`, `\Expunged`, "$label5"}), rapid.String())).Draw(t, "flags"),
		},
	}
	for range rapid.IntRange(0, 3).Draw(t, "annotations") {
		a := cyrus.Annotation{Entry: rapid.OneOf(rapid.Just("/comment"), rapid.String()).Draw(t, "entry"),
			UserID: rapid.String().Draw(t, "userid"), ModSeq: rapid.Uint64().Draw(t, "amodseq"), Extra: pairs(t, 1)}
		if rapid.Bool().Draw(t, "value") {
			v := rapid.String().Draw(t, "text")
			a.Value = &v
		}
		r.Annotations = append(r.Annotations, a)
	}
	return r
}

func TestRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := record(t)
		var got history.RecordState
		if err := indexvalue.ParseRecord(indexvalue.AppendRecord(nil, r), r.UID, &got); err != nil {
			t.Fatal(err)
		}
		same(t, &got, r)
	})
}

func TestBlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint32Range(0, math.MaxUint32/index.BlockRecords).Draw(t, "first") * index.BlockRecords
		var b, got indexvalue.Block
		for range rapid.IntRange(0, 40).Draw(t, "records") {
			i := rapid.IntRange(0, index.BlockRecords-1).Draw(t, "position")
			if rapid.IntRange(0, 5).Draw(t, "long") == 0 {
				b.Long, b.Records[i] = b.Long|1<<i, nil
				continue
			}
			b.Records[i] = record(t)
			b.Records[i].UID, b.Long = first+uint32(i), b.Long&^(1<<i)
		}
		v := indexvalue.AppendBlock(nil, &b)
		if err := indexvalue.ParseBlock(v, first, &got); err != nil {
			t.Fatal(err)
		}
		same(t, got, b)
		var d indexvalue.BlockReader
		var r history.RecordState
		for range 2 { // a reader is used again
			d.Reset(v, first)
			for {
				uid, long, ok := d.Next(&r)
				if !ok {
					break
				}
				i := uid - first
				if got.Records[i] = &r; long {
					got.Records[i] = nil
				}
				if long != (b.Long>>i&1 != 0) {
					t.Fatalf("uid %d is long: %t", uid, long)
				}
				same(t, got.Records[i], b.Records[i])
			}
			if err := d.End(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A record of any form is short enough for a block, or long.
func TestIsLong(t *testing.T) {
	empty := make([]string, 3000)
	long := strings.Repeat("x", 3000)
	pair := []dlist.Pair{dlist.P("X", dlist.S(long))}
	many := make([]cyrus.Annotation, 1000)
	for i, r := range []cyrus.Record{
		{Flags: empty}, {Flags: []string{long}}, {Annotations: many}, {Extra: pair},
		{Annotations: []cyrus.Annotation{{Entry: long}}}, {Annotations: []cyrus.Annotation{{UserID: long}}},
		{Annotations: []cyrus.Annotation{{Value: &long}}}, {Annotations: []cyrus.Annotation{{Extra: pair}}},
	} {
		if !indexvalue.IsLong(&history.RecordState{Record: r}) {
			t.Errorf("record %d is not long", i)
		}
	}
	usual := history.RecordState{Record: cyrus.Record{Flags: []string{`\Seen`, "$label1"}, Annotations: many[:6]}}
	if indexvalue.IsLong(&usual) {
		t.Error("an ordinary record is long")
	}
}

func TestMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := history.MessageState{Commit: rapid.Uint64().Draw(t, "commit"), Inline: rapid.Bool().Draw(t, "inline")}
		m.GUID, m.Size = guid(t), rapid.Int64Range(0, math.MaxInt64).Draw(t, "size")
		m.Chunks, m.Private = chunks(t, 0, 3), rapid.Bool().Draw(t, "private")
		m.Missing = len(m.Chunks) == 0
		b := indexvalue.AppendMessage(nil, &m)
		got := history.MessageState{Message: history.Message{Chunks: chunks(t, 0, 2)}} // used again
		if err := indexvalue.ParseMessage(b, m.GUID, &got); err != nil {
			t.Fatal(err)
		}
		same(t, got, m)
		if indexvalue.MessageMissing(b) != m.Missing {
			t.Fatal("MessageMissing differs")
		}
	})
}

func TestMailbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := history.MailboxState{
			Seq: rapid.Uint64Min(1).Draw(t, "seq"), UniqueID: rapid.String().Draw(t, "id"), Name: rapid.String().Draw(t, "name"),
			Fields: pairs(t, 2), Commit: rapid.Uint64().Draw(t, "commit"), Live: rapid.IntRange(0, 1<<30).Draw(t, "live"),
			TopUID: rapid.Uint32().Draw(t, "top"), MovedTo: rapid.String().Draw(t, "to"), Resync: rapid.String().Draw(t, "resync"),
			CRC: cyrus.CRC{Basic: rapid.Uint32().Draw(t, "b"), Annot: rapid.Uint32().Draw(t, "a"), AnnotPadded: rapid.Uint32().Draw(t, "p")},
		}
		m.Records = m.Live + rapid.IntRange(0, 9).Draw(t, "expunged")
		if rapid.Bool().Draw(t, "deleted") {
			m.Deleted = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
		}
		var got history.MailboxState
		if err := indexvalue.ParseMailbox(indexvalue.AppendMailbox(nil, &m), m.UniqueID, &got); err != nil {
			t.Fatal(err)
		}
		same(t, got, m)
	})
}

func TestPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := indexvalue.Shared{Size: rapid.Int64Range(0, math.MaxInt64).Draw(t, "size"), Chunks: chunks(t, 1, 3)}
		if len(s.Chunks) == 1 {
			s.Pack = rapid.Uint64().Draw(t, "pack")
		}
		var got indexvalue.Shared
		if err := indexvalue.ParseShared(indexvalue.AppendShared(nil, s), &got); err != nil {
			t.Fatal(err)
		}
		same(t, got, s)
		p := indexvalue.ChunkPlace{Pack: rapid.Uint64Min(1).Draw(t, "number"), Whole: rapid.Bool().Draw(t, "whole")}
		if p.Whole {
			p.GUID = guid(t)
		}
		at, err := indexvalue.ParseChunkPlace(indexvalue.AppendChunkPlace(nil, p))
		if err != nil {
			t.Fatal(err)
		}
		same(t, at, p)
	})
}

func TestInline(t *testing.T) {
	c := history.ChunkID{1, 2}
	whole, piece := cyrus.GUID{3}.String()+".eml", c.String()+".part"
	for _, p := range []history.Place{
		{Chunk: c, Object: history.LogKey("user/anne", 7), Entry: whole},
		{Chunk: c, Object: history.LogKey("user/anne", 7), Entry: piece},
		{Chunk: c, Object: history.SegmentKey("user/anne", 7, 9), Entry: whole},
		{Chunk: c, Object: history.LogKey("user/bob", 7), Entry: history.ChunkID{}.String() + ".part"},
	} {
		b := indexvalue.AppendInline(nil, "user/anne", p)
		if got, err := indexvalue.ParseInline(b, "user/anne", c); err != nil || got != p {
			t.Errorf("wrote %v, read %v, %v", p, got, err)
		}
	}
	if n := len(indexvalue.AppendInline(nil, "user/anne", history.Place{Chunk: c, Object: history.LogKey("user/anne", 7), Entry: whole})); n > 24 {
		t.Errorf("the usual place has %d bytes", n)
	}
}

// The usual values are short: the index has one of each for every message.
func TestSizes(t *testing.T) {
	r := history.RecordState{Commit: 100, Record: cyrus.Record{ModSeq: 1_000_000, LastUpdated: 1_790_000_000,
		InternalDate: 1_789_990_000, Size: 60_000, Flags: []string{`\Seen`, `\Answered`}}}
	if n := len(indexvalue.AppendRecord(nil, &r)); n > 40 {
		t.Errorf("a record has %d bytes", n)
	}
	var block indexvalue.Block
	for i := range block.Records {
		next := r
		next.ModSeq += uint64(i)
		block.Records[i] = &next
	}
	if n := len(indexvalue.AppendBlock(nil, &block)); n > 33*index.BlockRecords {
		t.Errorf("%d records have %d bytes", index.BlockRecords, n)
	}
	m := history.MessageState{Commit: 100, Message: history.Message{Size: 60_000, Chunks: make([]history.ChunkID, 1)}}
	if n := len(indexvalue.AppendMessage(nil, &m)); n > 38 {
		t.Errorf("a message has %d bytes", n)
	}
	if n := len(indexvalue.AppendShared(nil, indexvalue.Shared{Size: 60_000, Chunks: m.Chunks, Pack: 10_000})); n > 38 {
		t.Errorf("a shared message has %d bytes", n)
	}
}

// FuzzParse reads any bytes as every kind of value. What can be read is written again: no
// value has two meanings.
func FuzzParse(f *testing.F) {
	f.Add([]byte{0})
	f.Add(indexvalue.AppendShared(nil, indexvalue.Shared{Size: 1, Pack: 2, Chunks: make([]history.ChunkID, 1)}))
	f.Add(indexvalue.AppendRecord(nil, &history.RecordState{Record: cyrus.Record{Flags: []string{"a", `\Seen`}, Annotations: make([]cyrus.Annotation, 2)}}))
	f.Add(indexvalue.AppendBlock(nil, &indexvalue.Block{Records: [32]*history.RecordState{3: {Commit: 1}, 5: {Commit: 1}}, Long: 1 << 7}))
	f.Add(indexvalue.AppendMailbox(nil, &history.MailboxState{Seq: 1, Fields: []dlist.Pair{dlist.P("ACL", dlist.S("x"))}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer fuzztest.Limit(t, 1<<20+1<<10*int64(len(b)))()
		in := bytes.Clone(b)
		var r history.RecordState
		var m history.MessageState
		var box history.MailboxState
		var s indexvalue.Shared
		_, chunkErr := indexvalue.ParseChunkPlace(b)
		_, inlineErr := indexvalue.ParseInline(b, "user/anne", history.ChunkID{})
		recordErr := indexvalue.ParseRecord(b, 1, &r)
		if recordErr == nil {
			var again history.RecordState
			if err := indexvalue.ParseRecord(indexvalue.AppendRecord(nil, &r), 1, &again); err != nil {
				t.Error(err)
			}
		}
		var block, again indexvalue.Block
		blockErr := indexvalue.ParseBlock(b, 32, &block)
		if blockErr == nil {
			if err := indexvalue.ParseBlock(indexvalue.AppendBlock(nil, &block), 32, &again); err != nil {
				t.Error(err)
			}
		}
		for _, err := range []error{
			recordErr, blockErr, chunkErr, inlineErr, indexvalue.ParseMessage(b, cyrus.GUID{}, &m),
			indexvalue.ParseMailbox(b, "id", &box), indexvalue.ParseShared(b, &s),
		} {
			if err != nil && !errors.Is(err, indexvalue.ErrCorrupt) {
				t.Error(err)
			}
		}
		if !bytes.Equal(in, b) {
			t.Error("the input was changed")
		}
	})
}
