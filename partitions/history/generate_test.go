package history

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"reflect"
	"time"

	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Generators of any event. They fill fields by their types, so that new fields are tested.

func anyString() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 12), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "INBOX", "user.anne", `\Seen`, "a\"b\\c", "\xff\xfe", "<&>\u2028\x00\n"}),
	)
}

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
	})
}

func anyValue(depth int) *rapid.Generator[dlist.Value] {
	return rapid.Custom(func(t *rapid.T) dlist.Value {
		kinds := 3
		if depth > 0 {
			kinds = 5
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 1:
			return dlist.Value{Kind: dlist.String, Str: anyString().Draw(t, "str")}
		case 2:
			return dlist.Value{Kind: dlist.Flag, Str: `\` + anyString().Draw(t, "flag")}
		case 3:
			v := dlist.Value{Kind: dlist.List}
			for range rapid.IntRange(0, 3).Draw(t, "items") {
				v.Items = append(v.Items, anyValue(depth-1).Draw(t, "item"))
			}
			return v
		case 4:
			return dlist.Value{Kind: dlist.KVList, Pairs: anyPairs(depth-1).Draw(t, "pairs")}
		}
		return dlist.Value{}
	})
}

func anyPairs(depth int) *rapid.Generator[[]dlist.Pair] {
	return rapid.Custom(func(t *rapid.T) []dlist.Pair {
		var out []dlist.Pair
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			out = append(out, dlist.Pair{Key: anyString().Draw(t, "key"), Value: anyValue(depth).Draw(t, "value")})
		}
		return out
	})
}

func anyRecord(uid uint32) *rapid.Generator[*cyrus.Record] {
	return rapid.Custom(func(t *rapid.T) *cyrus.Record {
		r := &cyrus.Record{
			UID: uid, ModSeq: rapid.Uint64().Draw(t, "modseq"), LastUpdated: rapid.Int64Range(0, 4e9).Draw(t, "updated"),
			InternalDate: rapid.Int64Range(0, 4e9).Draw(t, "date"), Size: rapid.Uint32().Draw(t, "size"),
			GUID: anyGUID().Draw(t, "guid"), Extra: anyPairs(1).Draw(t, "extra"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "flags") {
			r.Flags = append(r.Flags, anyString().Draw(t, "flag"))
		}
		for range rapid.IntRange(0, 2).Draw(t, "annotations") {
			a := cyrus.Annotation{Entry: anyString().Draw(t, "entry"), UserID: anyString().Draw(t, "userid"),
				ModSeq: rapid.Uint64().Draw(t, "modseq"), Value: rapid.Ptr(anyString(), true).Draw(t, "value"), Extra: anyPairs(0).Draw(t, "extra")}
			r.Annotations = append(r.Annotations, a)
		}
		return r
	})
}

func anyGUID() *rapid.Generator[cyrus.GUID] {
	return rapid.Map(rapid.Uint32(), func(n uint32) cyrus.GUID {
		return sha1.Sum([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
	})
}

func anyMessage() *rapid.Generator[Message] {
	return rapid.Custom(func(t *rapid.T) Message {
		m := Message{GUID: anyGUID().Draw(t, "guid"), Size: rapid.Int64Range(0, 1<<40).Draw(t, "size")}
		for range rapid.IntRange(0, 3).Draw(t, "chunks") {
			var c ChunkID
			copy(c[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "chunk"))
			m.Chunks = append(m.Chunks, c)
		}
		m.Missing = len(m.Chunks) == 0
		return m
	})
}

var kinds = []string{"mailbox", "records", "recordblocks", "complete", "expunge", "messages", "rename", "unmailbox", "resync",
	"sub", "seen", "sieve", "unsieve", "sieve-active", "quota", "unquota", "annotation", "unuser", "adopted", "moved-away",
	"prune", "retained", "locked", "sealed", "bridged", "lost"}

func anyEvent() *rapid.Generator[Event] {
	return rapid.Custom(func(t *rapid.T) Event {
		e := newEvent(rapid.SampledFrom(kinds).Draw(t, "kind"))
		v := reflect.ValueOf(e).Elem()
		for i := range v.NumField() {
			fill(t, v.Type().Field(i).Name, v.Field(i))
		}
		return e
	})
}

func fill(t *rapid.T, name string, v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = anyString().Draw(t, name)
	case **string:
		*p = rapid.Ptr(anyString(), true).Draw(t, name)
	case *bool:
		*p = rapid.Bool().Draw(t, name)
	case *uint32:
		*p = rapid.Uint32().Draw(t, name)
	case *uint64:
		*p = rapid.Uint64().Draw(t, name)
	case *int64:
		*p = rapid.Int64().Draw(t, name)
	case *time.Time:
		*p = anyTime().Draw(t, name)
	case *cyrus.GUID:
		*p = anyGUID().Draw(t, name)
	case *[]dlist.Pair:
		*p = anyPairs(2).Draw(t, name)
	case *[]uint32:
		*p = rapid.SliceOfN(rapid.Uint32(), 0, 5).Draw(t, name)
	case *[]*cyrus.Record:
		for uid := range rapid.Uint32Range(0, 3).Draw(t, name) {
			*p = append(*p, anyRecord(uid+1).Draw(t, "record"))
		}
	case *[]cyrus.GUID:
		*p = rapid.SliceOfN(anyGUID(), 0, 3).Draw(t, name)
	case *[]LostRange:
		*p = []LostRange{{From: rapid.Uint64().Draw(t, "from"), To: rapid.Uint64().Draw(t, "to"), Reason: "missing"}}
	case *[]Message:
		*p = rapid.SliceOfN(anyMessage(), 0, 3).Draw(t, name)
	case *[]BlockRef:
		*p = []BlockRef{{Block: rapid.Uint32().Draw(t, "block"), Count: 1, SHA256: "ab", Object: "backups/user/anne/records/ab.tar.zst"}}
	default:
		t.Fatalf("no generator for %s %s", name, v.Type())
	}
}

func indent(b *bytes.Buffer, line []byte) error { return json.Indent(b, line, " ", "  ") }
