package history

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

var update = flag.Bool("update", false, "write missing files of testdata/golden")

// golden is a repository of version 1, in the form of a directory store. It was written
// once and does not change, because every later reader must be able to read it. (-update
// writes it again only if the directory is missing.)
const golden = "testdata/golden/v1"

func TestGolden(t *testing.T) {
	if _, err := os.Stat(golden); errors.Is(err, fs.ErrNotExist) && *update {
		writeTree(t, golden, goldenRepository(t))
	}
	w := readTree(t, golden)
	w.compareDumps("v1", map[string]Moment{
		"commit-02": {Number: 2}, "commit-04": {Number: 4}, "commit-06": {Number: 6}, "commit-08": {Number: 8},
		"newest": {}, "newest-from-log": {FromLog: true}, "noon-plus-5m30s": {Time: noon.Add(5*time.Minute + 30*time.Second)},
	})
	c, _, err := ReadCondemned(t.Context(), w.store)
	if err != nil || len(c.Packs) != 1 || !c.Packs[0].Since.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v, %v", c, err)
	}
}

// compareDumps compares the states at some moments with the dumps of a golden repository.
func (w *writer) compareDumps(version string, moments map[string]Moment) {
	t := w.t
	t.Helper()
	for name, at := range moments {
		m := w.load(at)
		got := fmt.Sprintf("%s\n", toJSON(t, m.Tip())) + dumpMem(t, m) + bodies(t, w, m)
		file := filepath.Join("testdata/golden", version+"-dumps", name+".ndjson")
		want, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && *update {
			w.must(os.MkdirAll(filepath.Dir(file), 0o755))
			w.must(os.WriteFile(file, []byte(got), 0o644))
			continue
		}
		w.must(err)
		if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}

// bodies reads all messages and returns the first line of each.
func bodies(t testing.TB, w *writer, m *Mem) string {
	t.Helper()
	var b strings.Builder
	o := NewObjects(w.store, 0)
	for s, err := range m.Messages() {
		w.must(err)
		r, err := OpenMessage(t.Context(), o, s, m.Places)
		if errors.Is(err, ErrMissing) {
			fmt.Fprintf(&b, "{\"guid\":%q,\"missing\":true}\n", s.GUID)
			continue
		}
		var erased *ErasedError
		if errors.As(err, &erased) {
			fmt.Fprintf(&b, "{\"guid\":%q,\"erased\":%q}\n", s.GUID, erased.At.UTC().Format(time.RFC3339Nano))
			continue
		}
		w.must(err)
		body, err := io.ReadAll(r)
		w.must(closeAfter(r, err))
		first, _, _ := strings.Cut(string(body), "\r\n")
		fmt.Fprintf(&b, "{\"guid\":%q,\"bytes\":%d,\"begins\":%q}\n", s.GUID, len(body), first)
	}
	return b.String()
}

func readTree(t testing.TB, dir string) *writer {
	t.Helper()
	w := newWriter(t)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		key, err := filepath.Rel(dir, path)
		w.put(filepath.ToSlash(key), b)
		return err
	})
	w.must(err)
	return w
}

func writeTree(t *testing.T, dir string, w *writer) {
	t.Helper()
	for _, key := range w.keys() {
		file := filepath.Join(dir, filepath.FromSlash(key))
		w.must(os.MkdirAll(filepath.Dir(file), 0o755))
		w.must(os.WriteFile(file, w.get(key), 0o644))
	}
}

// goldenRepository makes a repository with at least one item of every kind in the format.
func goldenRepository(t *testing.T) *writer {
	w := newWriter(t)
	w.store = memstore.New(func() time.Time { return noon })
	value, latin := "v", "caf\xe9"

	// A pack that is rewritten later, with a message in two chunks.
	long := text(100, 30<<10)
	parts := [][]byte{long[:20<<10], long[20<<10:]}
	longMessage := Message{GUID: sha1.Sum(long), Size: int64(len(long)), Chunks: []ChunkID{sha256.Sum256(parts[0]), sha256.Sum256(parts[1])}}
	entries, order := map[string][]byte{}, []string(nil)
	add := func(name string, body []byte) {
		order = append(order, name)
		entries[name] = body
	}
	var news []Message
	for n := range 6 {
		news = append(news, message(text(n, 300)))
		add(news[n].GUID.String()+".eml", text(n, 300))
	}
	for i, c := range longMessage.Chunks {
		add(c.String()+".part", parts[i])
	}
	old := w.packOf(entries, order...)
	fresh := w.packOf(entries, append(slices.Clone(order[1:]), order[0])...)
	places := func(b *Builder) {
		for i, m := range news {
			b.Place(Place{Chunk: m.Chunks[0], Object: old, Entry: order[i]})
		}
		for i, c := range longMessage.Chunks {
			b.Place(Place{Chunk: c, Object: old, Entry: order[len(news)+i]})
		}
	}

	inbox := mailbox("inbox-id", "user.anne", "SYNC_CRC", "7", "ACL", "anne\tlrswipkxtecda\t", "COLOUR", latin)
	inbox.Fields = append(inbox.Fields, dlist.Pair{Key: "ANNOTATIONS", Value: dlist.Value{Kind: dlist.List, Items: []dlist.Value{{Kind: dlist.KVList,
		Pairs: []dlist.Pair{field("ENTRY", "/comment"), field("VALUE", latin)}}}}}, dlist.Pair{Key: "NONE"})
	list := []*cyrus.Record{record(1, news[0].GUID, `\Seen`, "$Label1"), record(2, news[1].GUID), record(3, longMessage.GUID, `\Flagged`), record(5000, news[2].GUID)}
	list[1].Extra = []dlist.Pair{field("FUTURE", "x")}
	w.commitWith(places, inbox, &MessagesEvent{Messages: append(slices.Clone(news), longMessage)}, records("inbox-id", list...))
	w.commit(mailbox("sent-id", "user.anne.Sent"), records("sent-id", record(1, news[3].GUID, `\Expunged`), record(2, news[4].GUID)),
		mailbox("gone-id", "user.anne.Gone"), mailbox("moved-id", "user.anne.Moved"))
	w.commit(&SubEvent{User: "anne", Name: "user.anne.Sent", Subscribed: true}, &SubEvent{User: "anne", Name: "user.bob", Subscribed: true},
		&SeenEvent{User: "anne", UniqueID: "inbox-id", Fields: []dlist.Pair{field("LASTREAD", "1700000000"), field("SEENUIDS", "1:3")}},
		&SieveEvent{User: "anne", Filename: "rules", LastUpdate: 1700000000, GUID: sha1.Sum([]byte("keep;\r\n")), Content: "keep;\r\n"},
		&SieveEvent{User: "anne", Filename: "old", GUID: sha1.Sum([]byte(latin)), Content: latin}, &SieveActiveEvent{User: "anne", Filename: "rules.bc"},
		&QuotaEvent{Root: "user.anne", Fields: []dlist.Pair{field("ROOT", "user.anne"), field("STORAGE", "1000")}}, &QuotaEvent{Root: "user.anne.Sent"},
		&AnnotationEvent{Name: "user.anne", Entry: "/comment", UserID: "anne", Value: &latin}, &AnnotationEvent{Name: "user.anne", Entry: "/other", Value: &value})
	w.commit(&UnsieveEvent{User: "anne", Filename: "old"}, &SubEvent{User: "anne", Name: "user.bob"}, &UnquotaEvent{Root: "user.anne.Sent"},
		&AnnotationEvent{Name: "user.anne", Entry: "/other"}, &RenameEvent{UniqueID: "sent-id", Old: "user.anne.Sent", New: "user.anne.Out", Partition: "p2", UIDValidity: 12},
		&UnmailboxEvent{UniqueID: "gone-id", Name: "user.anne.Gone"}, &MovedAwayEvent{UniqueID: "moved-id", To: "user/bob"})

	blocks := NewRecordBlockWriter(w.store, anne, w.options())
	for _, uid := range []uint32{1, 3, 4, 4096, 9000} {
		w.must(blocks.Add(t.Context(), record(uid, news[uid%6].GUID, `\Seen`)))
	}
	refs, err := blocks.Finish(t.Context())
	w.must(err)
	w.commit(&AdoptedEvent{UniqueID: "adopted-id", From: "shared/info", Number: 17}, mailbox("adopted-id", "user.anne.Info"),
		&RecordBlocksEvent{UniqueID: "adopted-id", Blocks: refs}, &CompleteEvent{UniqueID: "adopted-id"})
	w.commit(&ExpungeEvent{UniqueID: "inbox-id", UIDs: []uint32{2}}, &ResyncEvent{UniqueID: "sent-id", Reason: "bodies were lost"})
	w.checkpoint()

	// New mail, inline. A complete set without some of the old records.
	body := text(200, 400)
	inline := message(body)
	entry := inline.GUID.String() + ".eml"
	w.commitWith(func(b *Builder) {
		b.Place(Place{Chunk: inline.Chunks[0], Object: ".", Entry: entry})
		b.Inline(entry, body)
	}, inbox, &MessagesEvent{Messages: []Message{inline}}, records("inbox-id", record(5001, inline.GUID)))
	w.commit(inbox, records("inbox-id", record(1, news[0].GUID), record(5001, inline.GUID)), &CompleteEvent{UniqueID: "inbox-id"},
		&MessagesEvent{Messages: []Message{{GUID: sha1.Sum([]byte("unreadable")), Size: 10, Missing: true}}},
		records("inbox-id", record(5002, sha1.Sum([]byte("unreadable")))))
	w.commit(&PruneEvent{Before: noon.Add(3 * time.Minute)}, &RetainedEvent{From: 0, To: 0})
	w.commit(&UnuserEvent{User: "anne"}, &SealedEvent{Reason: "erased"})
	w.merge(1, 4, nil)

	w.delete(old)
	note := Moved{Version: Version, Pack: old, Time: noon.Add(time.Hour), Entries: map[string]string{}}
	for _, name := range order {
		note.Entries[name] = fresh
	}
	b, err := note.Append(nil)
	w.must(err)
	key, _ := MovedKey(old)
	w.put(key, b)
	condemned := Condemned{Version: Version, Packs: []CondemnedPack{{Key: fresh, Since: noon.Add(time.Hour)}}}
	b, err = condemned.Append(nil)
	w.must(err)
	w.put(CondemnedKey, bytes.Clone(b))
	return w
}
