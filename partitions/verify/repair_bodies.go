package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// bodies finds other copies of the messages that cannot be read, and records those that
// are nowhere.
func (r *repairer) bodies(ctx context.Context) error {
	if len(r.what.bodies) == 0 && len(r.what.absent) == 0 && len(r.what.mailboxes) == 0 {
		return nil
	}
	r.step("looking for other copies of damaged messages")
	m, err := soundState(ctx, r.f, r.unsound)
	if err != nil {
		return err
	}
	defer m.Close()
	s := &bodySearch{r: r, m: m, objects: history.NewObjects(r.store, 0), w: pack.NewWriter(nil, r.o.Pack)}
	need, err := s.unreadable(ctx)
	if err != nil {
		return err
	}
	if need, err = s.find(ctx, need); err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	return r.lose(ctx, m, need)
}

// lose records the messages of which there is no copy.
func (r *repairer) lose(ctx context.Context, m *history.Mem, need map[cyrus.GUID]int64) error {
	lost, err := lostEvents(m, need)
	if err != nil {
		return err
	}
	for id := range r.what.mailboxes {
		if b, err := m.Mailbox(id); err == nil && b != nil && b.Resync == "" && lost.Mailboxes[b.Name] == 0 {
			lost.Events = append(lost.Events, &history.ResyncEvent{UniqueID: id, Reason: "its records do not fit its messages"})
			lost.Mailboxes[b.Name] = 0
		}
	}
	const atOnce = 200 // events in a commit
	for events := range slices.Chunk(lost.Events, atOnce) {
		if _, err := r.commit(ctx, nil, events...); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lost.Mailboxes)) {
		if n := lost.Mailboxes[name]; n > 0 {
			r.report(Waits, name, "%d messages have lost their bodies: the source is asked for them", n)
			continue
		}
		r.report(Waits, name, "its records do not fit its messages: the source is compared with it as a whole")
	}
	for _, g := range lost.Dead {
		r.report(LostHere, "message "+g.String(), "only history names it, and there is no other copy")
	}
	return nil
}

// bodySearch looks for bodies, and puts what it finds into new packs.
type bodySearch struct {
	r       *repairer
	m       *history.Mem
	objects *history.Objects
	w       *pack.Writer
	in      map[string]history.ChunkID // entries of w
	news    []history.Message          // that are in it, or in places that are known
	places  []history.Place            // of their chunks, those in w without an object
	from    []string                   // where these were found
}

// unreadable are the messages that still cannot be read once damaged packs are mended.
func (s *bodySearch) unreadable(ctx context.Context) (map[cyrus.GUID]int64, error) {
	need := maps.Clone(s.r.what.absent)
	if need == nil {
		need = map[cyrus.GUID]int64{}
	}
	packs := map[string]bool{}
	for _, g := range s.r.what.bodies {
		msg, err := s.m.Message(g)
		if err != nil {
			return nil, err
		}
		if msg == nil || msg.Missing {
			continue
		}
		need[g] = msg.Size
		for _, c := range msg.Chunks {
			if err := s.damagedPacks(ctx, c, packs); err != nil {
				return nil, err
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(packs)) {
		if err := s.r.mendPack(ctx, key); err != nil {
			return nil, fmt.Errorf("repair %s: %w", key, err)
		}
	}
	s.objects = history.NewObjects(s.r.store, 0) // they have changed
	return need, nil
}

// damagedPacks collects the packs in which a chunk cannot be read.
func (s *bodySearch) damagedPacks(ctx context.Context, c history.ChunkID, packs map[string]bool) error {
	places, err := s.m.Places(c)
	if err != nil {
		return err
	}
	for _, p := range places {
		at, _, err := s.read(ctx, s.objects, p)
		if err != nil && !history.IsDamage(err) {
			return err
		}
		if err != nil && strings.HasPrefix(at, "packs/") && !errors.Is(err, objstore.ErrNotExist) && !errors.Is(err, history.ErrNoPlace) {
			packs[at] = true
		}
	}
	return nil
}

// read reads a chunk, and says in which object it lies.
func (s *bodySearch) read(ctx context.Context, o *history.Objects, p history.Place) (object string, body []byte, err error) {
	object, e, err := o.Entry(ctx, p)
	if err != nil {
		return p.Object, nil, err
	}
	frames, err := o.Frames(ctx, object, e.Off, e.Len)
	if err != nil {
		return object, nil, err
	}
	defer frames.Close()
	r := pack.OpenEntry(e, frames)
	body = make([]byte, e.Size)
	_, err = io.ReadFull(r, body)
	if err = errors.Join(err, r.Close()); err == nil && history.ChunkID(sha256.Sum256(body)) != p.Chunk {
		err = fmt.Errorf("%s: %w: the SHA-256 of entry %s is another one", object, history.ErrCorrupt, p.Entry)
	}
	return object, body, err
}

// readAny reads a chunk from the first of its places where that is possible; nil: from none.
func (s *bodySearch) readAny(ctx context.Context, o *history.Objects, places []history.Place) ([]byte, *history.Place, error) {
	for _, p := range places {
		_, body, err := s.read(ctx, o, p)
		if err == nil {
			return body, &p, nil
		}
		if !history.IsDamage(err) {
			return nil, nil, err
		}
	}
	return nil, nil, nil
}

// find takes each message from this backup itself, or from another one, and returns those
// that are nowhere.
func (s *bodySearch) find(ctx context.Context, need map[cyrus.GUID]int64) (map[cyrus.GUID]int64, error) {
	own := bodySource{m: s.m, objects: s.objects, name: "another place in this backup", own: true}
	if err := s.takeFrom(ctx, own, need); err != nil {
		return nil, err
	}
	for f, err := range everyBackup(ctx, s.r.o.Others) {
		if len(need) == 0 {
			break
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			continue // what cannot be asked cannot help
		}
		if f.Path == s.r.f.Path && f.Aside == "" && f.Partition.Name == s.r.f.Partition.Name {
			continue
		}
		if err := s.fromOther(ctx, f, need); err != nil {
			return nil, err
		}
	}
	return need, nil
}

// everyBackup yields the backups of all partitions, those that were set aside, too.
func everyBackup(ctx context.Context, parts []repository.Config) func(func(*repository.Found, error) bool) {
	return func(yield func(*repository.Found, error) bool) {
		for _, p := range parts {
			for f, err := range repository.Browse(ctx, p) {
				if !yield(f, err) {
					return
				}
			}
			for f, err := range repository.BrowseAside(ctx, p) {
				if !yield(f, err) {
					return
				}
			}
		}
	}
}

func (s *bodySearch) fromOther(ctx context.Context, f *repository.Found, need map[cyrus.GUID]int64) error {
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if err != nil {
		return ctx.Err() // it cannot help
	}
	defer m.Close()
	name := f.Partition.Name + ":" + f.Where()
	return s.takeFrom(ctx, bodySource{m: m, objects: history.NewObjects(f.Partition.Store, 0), name: name}, need)
}

// bodySource is a backup in which messages are looked for.
type bodySource struct {
	m       *history.Mem
	objects *history.Objects
	name    string
	own     bool
}

// takeFrom takes what it can from one backup, out of need.
func (s *bodySearch) takeFrom(ctx context.Context, src bodySource, need map[cyrus.GUID]int64) error {
	for _, g := range slices.SortedFunc(maps.Keys(need), compareGUIDs) {
		msg, err := src.m.Message(g)
		if err != nil {
			return onlyStore(ctx, err)
		}
		if msg == nil || msg.Missing || msg.Size != need[g] || msg.Private && !src.own {
			continue
		}
		got, err := s.take(ctx, src, msg)
		if err != nil {
			return err
		}
		if got {
			delete(need, g)
		}
	}
	return nil
}

// onlyStore leaves out damage of a backup that is merely asked.
func onlyStore(ctx context.Context, err error) error {
	if history.IsDamage(err) {
		return ctx.Err()
	}
	return err
}

// placesAtOnce bounds the places that wait for a commit.
const placesAtOnce = 1 << 14

// take adds a message to the new pack, if each chunk of it can be read.
func (s *bodySearch) take(ctx context.Context, src bodySource, msg *history.MessageState) (bool, error) {
	var at []history.Place // one for each chunk, where it can be read
	stays := src.own
	for _, c := range msg.Chunks {
		places, err := src.m.Places(c)
		if err != nil {
			return false, onlyStore(ctx, err)
		}
		_, p, err := s.readAny(ctx, src.objects, places)
		if err != nil || p == nil {
			return false, onlyStore(ctx, err)
		}
		stays = stays && *p == places[0] // the newest, which a reader takes
		at = append(at, *p)
	}
	if stays {
		return true, nil // a pack was mended
	}
	for _, p := range at {
		_, body, err := s.read(ctx, src.objects, p) // one at a time: a message can be large
		if err == nil {
			err = s.add(ctx, history.Place{Chunk: p.Chunk, Entry: p.Entry}, body)
		}
		if err != nil {
			return false, err
		}
	}
	s.news, s.from = append(s.news, msg.Message), append(s.from, src.name)
	if len(s.news) == history.MaxMessagesPerEvent || len(s.places) >= placesAtOnce {
		return true, s.flush(ctx)
	}
	return true, nil
}

// add puts a chunk into the new pack.
func (s *bodySearch) add(ctx context.Context, p history.Place, body []byte) error {
	c, taken := s.in[p.Entry]
	if taken && c == p.Chunk {
		return nil
	}
	// Two bodies with one GUID cannot share a pack.
	if taken || int64(s.w.Len()) >= s.r.o.PackSize {
		if err := s.flushPack(ctx); err != nil {
			return err
		}
	}
	if err := s.w.Add(p.Entry, body); err != nil {
		return err
	}
	put(&s.in, p.Entry, p.Chunk)
	s.places = append(s.places, p)
	return nil
}

// flushPack puts the pack, and notes its name in the places.
func (s *bodySearch) flushPack(ctx context.Context) error {
	if len(s.in) == 0 {
		return nil
	}
	key, err := s.r.putPack(ctx, s.w)
	if err != nil {
		return err
	}
	for i := range s.places {
		if s.places[i].Object == "" {
			s.places[i].Object = key
		}
	}
	s.w, s.in = pack.NewWriter(nil, s.r.o.Pack), nil
	return nil
}

// flush puts the pack, and the commit that says where the messages are now.
func (s *bodySearch) flush(ctx context.Context) error {
	if err := s.flushPack(ctx); err != nil || len(s.news) == 0 {
		return err
	}
	if _, err := s.r.commit(ctx, s.places, &history.MessagesEvent{Messages: s.news}); err != nil {
		return err
	}
	for i, m := range s.news {
		s.r.report(Repaired, "message "+m.GUID.String(), "copied from %s", s.from[i])
	}
	s.news, s.from, s.places = nil, nil, nil
	return nil
}
