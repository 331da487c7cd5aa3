package erasure_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// pieces commits messages to a user, each of several chunks, in a new pack. They get the UIDs from uid on; those of
// deleted are deleted.
func (w *letters) pieces(user string, uid uint32, deleted []int, messages ...[][]byte) (guids []cyrus.GUID) {
	w.t.Helper()
	p := pack.NewWriter(nil, pack.Options{})
	seen := map[history.ChunkID]bool{}
	news, records := &history.MessagesEvent{}, &history.RecordsEvent{UniqueID: "inbox"}
	var places []history.Place
	for i, parts := range messages {
		text := bytes.Join(parts, nil)
		m := history.Message{GUID: sha1.Sum(text), Size: int64(len(text))}
		for _, piece := range parts {
			c := history.ChunkID(sha256.Sum256(piece))
			m.Chunks = append(m.Chunks, c)
			if seen[c] {
				continue
			}
			seen[c] = true
			if err := p.Put(pack.PieceName(c), piece); err != nil {
				w.t.Fatal(err)
			}
			places = append(places, history.Place{Chunk: c, Entry: c.String() + ".part"})
		}
		r := &cyrus.Record{UID: uid + uint32(i), ModSeq: 1, GUID: m.GUID, Size: uint32(m.Size), LastUpdated: 1, InternalDate: 1}
		if slices.Contains(deleted, i) {
			r.Flags = []string{"\\Expunged"}
		}
		news.Messages, records.Records, guids = append(news.Messages, m), append(records.Records, r), append(guids, m.GUID)
	}
	object, err := p.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	key := history.PackKey(sha256.Sum256(object))
	w.put(key, object)
	for i := range places {
		places[i].Object = key
	}
	w.putEvents(user, places, news, records)
	return guids
}

// putEvents puts a commit with places.
func (w *letters) putEvents(user string, places []history.Place, events ...history.Event) {
	w.t.Helper()
	f := w.found(user)
	tip, _, err := f.Tip(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if tip.Number == 0 {
		events = slices.Insert(events, 0, history.Event(&history.MailboxEvent{UniqueID: "inbox", Name: "user." + user}))
	}
	o := w.lock()
	b := history.NewBuilder(o.Header(f, tip, w.now), pack.Options{})
	for _, e := range events {
		if err := b.Event(e); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, p := range places {
		b.Place(p)
	}
	if won, err := f.PutBuilt(w.t.Context(), b); err != nil || !won {
		w.t.Fatal(won, err)
	}
}

// nightsOf does what compact does for some nights. Then no erasure is open.
func (w *letters) nightsOf(n int) {
	w.t.Helper()
	for range n {
		w.later(15 * hour)
		w.finish()
	}
	if open := w.open(); len(open) > 0 {
		w.t.Errorf("%+v", open[0])
	}
}

// holding returns the keys of objects and former versions with a text.
func (w *letters) holding(text []byte) (keys []string) {
	for key, b := range w.mem.All() {
		if bytes.Contains(b, text) || bytes.Contains(plain(b), text) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Pieces of a large message that another one has, too, stay. If all of its pieces do, the erasure is refused.
func TestMessagesShareChunks(t *testing.T) {
	a, b := body(1), body(3)
	for _, whole := range []bool{false, true} {
		w := newLetters(t)
		two := [][]byte{b, []byte("other")}
		if whole {
			two = [][]byte{b, a}
		}
		guids := w.pieces("carl", 1, []int{0}, [][]byte{a, b}, two)
		w.later(5 * day)
		w.commit("carl", nil)
		err := w.eraseOf("carl", guids[0])
		if whole {
			if err == nil || len(w.open()) > 0 {
				t.Errorf("%v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		w.nightsOf(1)
		w.readable("carl", guids[1], nil)
		var erased *history.ErasedError
		w.readable("carl", guids[0], &erased)
		if len(w.holding(b)) == 0 {
			t.Error("the shared piece is gone")
		}
	}
}

// Two messages share a piece. When the second one is erased, the piece goes as well: nobody can restore the first one.
func TestMessagesShareChunksOfErased(t *testing.T) {
	mark := []byte("PIECE-61f0 that both have")
	for _, first := range []string{"private", "none"} {
		if raceEnabled && first == "none" {
			continue
		}
		w := newLetters(t)
		two := [][]byte{mark, []byte("second")}
		if first == "none" { // every piece of the second one is a piece of the first
			two = [][]byte{mark, mark}
		}
		guids := w.pieces("carl", 1, []int{0, 1}, [][]byte{[]byte("first"), mark}, two)
		w.later(5 * day)
		w.commit("carl", map[int]string{150: ""})
		w.later(5 * day)
		for i, g := range guids {
			if err := w.eraseOf("carl", g); err != nil {
				t.Fatalf("%s: message %d: %v", first, i, err)
			}
			w.nightsOf(2)
		}
		if in := w.holding(mark); len(in) > 0 {
			t.Errorf("%s: the piece is in %q", first, in)
		}
		var erased *history.ErasedError
		for _, g := range guids {
			w.readable("carl", g, &erased)
		}
	}
}

// A message is erased, and a piece of it stays, because another one has it. That one is deleted, and retention drops it: only the
// erased message has the piece, in a single moment. It does not count as complete then, and another erasure removes the piece.
func TestMessagesPieceLeft(t *testing.T) {
	mark := []byte("PIECE-9c44 that both have")
	w := newLetters(t)
	w.now = time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)
	one := w.pieces("carl", 1, nil, [][]byte{[]byte("first"), mark})[0]
	w.commit("carl", map[int]string{150: ""})
	moment := w.newestOf("carl")
	w.later(day)
	w.pieces("carl", 2, []int{0}, [][]byte{mark, []byte("second")})
	w.commit("carl", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{1}})
	w.later(5 * day)
	w.commit("carl", map[int]string{151: ""})
	w.mustErase("carl", one, 1)
	w.nightsOf(2)
	f := w.found("carl")
	for n := range 8 {
		w.later(4 * day)
		w.commit("carl", map[int]string{152 + n: ""})
		var err error
		if f, err = repository.FindPath(t.Context(), w.config(), f.Path); err != nil {
			t.Fatal(err)
		}
		w.mergeOf(f)
		w.retain(f, 12)
	}
	left, err := maintenance.FindMessages(t.Context(), f, []cyrus.GUID{one}, w.historyOptions().Forget.RetainOptions)
	if err != nil || len(left) != 1 || left[0].Held || !left[0].Left || left[0].Shared != 0 || left[0].Erased.IsZero() || len(w.holding(mark)) == 0 {
		t.Fatalf("this test covers nothing: %+v, %v", left, err)
	}
	w.mustErase("carl", one, 0)
	w.nightsOf(2)
	if in := w.holding(mark); len(in) > 0 {
		t.Errorf("the piece is in %q", in)
	}
	var erased *history.ErasedError
	w.readableAt("carl", moment, one, &erased)
	w.readableAt("carl", moment, message(150).GUID, nil)
}

// mustErase erases a message. This number of its pieces stays.
func (w *letters) mustErase(user string, g cyrus.GUID, shared int64) {
	w.t.Helper()
	done, err := w.tryErasing(user, g)
	if err != nil || done.Shared != shared {
		w.t.Fatalf("%+v, %v", done, err)
	}
}

// A message was erased, and arrives again, cut in another way. Its first pieces are gone, but it is live: the pieces of its
// second way stay when another message that has one of them is erased.
func TestMessagesCutAgain(t *testing.T) {
	both, x, y := []byte("PIECE-both"), []byte("PIECE-x"), []byte("PIECE-y")
	w := newLetters(t)
	guids := w.pieces("carl", 1, []int{0, 1}, [][]byte{[]byte("first"), both}, [][]byte{both, append(slices.Clone(x), y...)})
	w.later(5 * day)
	w.commit("carl", map[int]string{150: ""})
	w.mustErase("carl", guids[1], 1)
	w.nightsOf(2)
	if again := w.pieces("carl", 3, nil, [][]byte{both, x, y})[0]; again != guids[1] {
		t.Fatal("it is another message")
	}
	w.later(5 * day)
	w.commit("carl", map[int]string{151: ""})
	w.mustErase("carl", guids[0], 1)
	w.nightsOf(2)
	w.readableAt("carl", w.newestOf("carl"), guids[1], nil)
}

// The checkpoints of a backup share most of their blocks. Whoever looks for messages reads each block once, and not once for each
// checkpoint.
func TestMessagesReadBlocksOnce(t *testing.T) {
	if raceEnabled {
		t.Skip("it takes 16,000 messages")
	}
	const blocks = 5
	w := newLetters(t)
	var all []history.Message
	var places []history.Place
	key := w.pack(160)
	for n := range (blocks-1)*4096 + 1 {
		body := fmt.Appendf(nil, "message %d", n)
		m := history.Message{GUID: sha1.Sum(body), Size: int64(len(body)), Chunks: []history.ChunkID{sha256.Sum256(body)}}
		all = append(all, m)
		places = append(places, history.Place{Chunk: m.Chunks[0], Object: key, Entry: m.GUID.String() + ".eml"})
	}
	var events []history.Event
	for some := range slices.Chunk(all, history.MaxMessagesPerEvent) {
		events = append(events, &history.MessagesEvent{Messages: some})
	}
	w.putEvents("carl", places, events...)
	requests := func() (n int) {
		f := faultstore.New(w.mem)
		f.Add(faultstore.Fault{Match: func(op, key string) bool {
			if op == "get" && strings.Contains(key, "/records/") {
				n++
			}
			return false
		}})
		found := *w.found("carl")
		found.Partition.Store = f
		list, err := maintenance.FindMessages(t.Context(), &found, []cyrus.GUID{all[0].GUID}, w.historyOptions().Forget.RetainOptions)
		if err != nil || len(list) != 1 || !list[0].Held {
			t.Fatalf("%+v, %v", list, err)
		}
		return n
	}
	w.checkpoint("carl")
	one := requests()
	for n := range 6 {
		w.commit("carl", map[int]string{150 + n: ""})
		w.checkpoint("carl")
	}
	if seven := requests(); one < 2*blocks || seven > 3*one {
		t.Errorf("%d requests for a checkpoint, %d for seven", one, seven)
	}
}

// While a message is being erased, another one arrives that has all of its pieces. It is new mail, and stays. The erasure ends.
func TestMessagesShareChunksWithLater(t *testing.T) {
	a, b := []byte("PIECE-a1"), []byte("PIECE-b2")
	w := newLetters(t)
	one := w.pieces("carl", 1, []int{0}, [][]byte{a, b})[0]
	w.commit("carl", map[int]string{150: ""})
	w.checkpoint("carl")
	w.later(5 * day)
	w.commit("carl", map[int]string{151: ""})
	if err := w.eraseOf("carl", one); err != nil {
		t.Fatal(err)
	}
	w.later(hour)
	two := w.pieces("carl", 2, nil, [][]byte{b, a})[0]
	w.checkpoint("carl")
	n, err := w.found("carl").Log().Newest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	w.nightsOf(3)
	var erased *history.ErasedError
	w.readable("carl", one, &erased)
	w.readableAt("carl", n, two, nil)
	w.readableAt("carl", n, one, &erased)
}
