package collection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// errChanged reports that the objects do not fit the list of them. Another list may help.
var errChanged = errors.New("the backup is changing or damaged (see ctl_backups verify)")

// reader finds the packs that the objects of a backup name.
type reader struct {
	store  objstore.Store
	prefix string // of the backup, with a final slash
	old    *usesReader
	uses   *usesWriter // nil: not written
	packs  *usageSet
	wanted map[Pack]bool // packs whose named entries are to be found
	named  *namingSet    // those entries; nil: none are wanted
	doubt  map[Pack]bool // wanted packs that unreadable commits have named

	print        fingerprint
	expected     []objstore.Info     // that the list has not shown yet
	seen         map[string]*seenUse // by rel: objects that this run has read before
	tip          tip
	fresh        int           // objects that the old uses lack
	lines        int           // objects that name something
	blocks       map[Pack]bool // objects that checkpoints have their places in; whether listed
	newestBlocks map[Pack]bool // those of the newest checkpoint
	checkpoint   uint64        // the newest one
	end          uint64        // the log has all commits up to this one, except for missing
	newest       uint64        // highest number in the log
	missing      uint64        // the last commit that is missing or damaged; 0 = none
}

// run reads a list of the objects. It returns an error if it cannot determine everything
// that the backup names.
func (r *reader) run(ctx context.Context, list iter.Seq2[objstore.Info, error]) error {
	r.print, r.blocks, r.newestBlocks = newFingerprint(), map[Pack]bool{}, map[Pack]bool{}
	for info, err := range list {
		if err != nil {
			return err
		}
		if err := r.object(ctx, parseObject(r.prefix, info)); err != nil {
			return err
		}
	}
	if r.old != nil {
		if err := r.old.drain(); err != nil {
			return err
		}
	}
	return r.complete()
}

func (r *reader) object(ctx context.Context, o object) error {
	r.print.add(o)
	r.expected = slices.DeleteFunc(r.expected, func(e objstore.Info) bool { return e.Key == o.Key && versionOf(e).same(versionOf(o.Info)) })
	switch o.kind {
	case kindUnknown:
		return fmt.Errorf("%s: this program does not know such objects: remove it if it is no part of the backup, or use a newer version", o.Key)
	case kindCheckpoint:
		r.checkpoint = max(r.checkpoint, o.to)
		return r.use(ctx, o, nil)
	case kindLog:
		return r.log(ctx, o)
	case kindBlocks:
		return r.block(ctx, o)
	}
	return nil
}

// placesIn reads the places in an object.
type placesIn func(context.Context, objstore.Store, string) iter.Seq2[history.Place, error]

// use finds what an object names: in the old uses, or else in the object. places is nil for a
// checkpoint, which has none itself.
func (r *reader) use(ctx context.Context, o object, places placesIn) error {
	var u *use
	var err error
	if r.old != nil {
		if u, err = r.old.find(o); err != nil {
			return err
		}
	}
	if r.named != nil {
		u = nil // the entries are counted in the objects themselves
	}
	if u == nil {
		r.fresh++
		if s := r.seen[o.rel]; s != nil && !s.Merged && r.named == nil && s.same(versionOf(o.Info)) {
			u, r.tip.random = &s.use, s.Random
		} else if u, err = r.readUse(ctx, o, places); err != nil {
			return err
		}
		u.Object, u.version = o.rel, versionOf(o.Info)
	}
	if r.named != nil && places != nil && slices.ContainsFunc(u.Packs, func(p Pack) bool { return r.wanted[p] }) {
		if err := r.namings(ctx, o, places); err != nil {
			return err
		}
	}
	r.lines++
	for i, p := range u.Packs {
		if err := r.packs.add(newUsage(p, r.kindOf(o), uint32(r.lines), u.Entries[i])); err != nil {
			return err
		}
	}
	if o.kind == kindCheckpoint && o.to == r.checkpoint {
		clear(r.newestBlocks)
	}
	for _, b := range u.Blocks {
		if !r.blocks[b] {
			r.blocks[b] = false
		}
		r.newestBlocks[b] = true
	}
	if r.uses != nil {
		return r.uses.add(u)
	}
	return nil
}

// kindOf returns the kind of an object that names packs. Checkpoints are listed first.
func (r *reader) kindOf(o object) usageKind {
	if o.kind == kindBlocks {
		if id, _ := blocksID(o.rel); !r.newestBlocks[id] {
			return inOthers
		}
		return inState
	}
	if o.from > r.checkpoint {
		return afterLog
	}
	return inLog
}

func (r *reader) readUse(ctx context.Context, o object, places placesIn) (*use, error) {
	if places == nil {
		return r.placesOf(ctx, o)
	}
	return r.packsIn(ctx, o, places)
}

// placesOf reads which objects have the places of a checkpoint.
func (r *reader) placesOf(ctx context.Context, o object) (*use, error) {
	objects, err := history.PlaceObjects(ctx, r.pinned(o), o.Key)
	if err != nil {
		return nil, r.gone(err)
	}
	u := &use{}
	for _, key := range objects {
		id, ok := blocksID(key)
		if !ok {
			return nil, fmt.Errorf("%s: %w: it has places in %s", o.Key, history.ErrCorrupt, key)
		}
		u.Blocks = append(u.Blocks, id)
	}
	return u, nil
}

// blocksID returns the hash in the key of an object in records/. The objects of a backup that
// was set aside name each other by their former keys, so the rest of the key does not count.
func blocksID(key string) (id Pack, ok bool) {
	name, found := strings.CutSuffix(path.Base(key), ".tar.zst")
	return id, found && id.UnmarshalText([]byte(name)) == nil
}

// log reads a commit or segment. A commit that is missing or damaged is no obstacle if a
// later checkpoint has the places of everything before it.
func (r *reader) log(ctx context.Context, o object) error {
	r.newest = max(r.newest, o.to)
	places := history.LogPlaces
	if o.single() {
		r.tip = tip{number: o.to}
		places = r.tipPlaces
	}
	err := r.use(ctx, o, places)
	if isDamaged(err) { // one answer does not decide
		err = r.use(ctx, o, places)
	}
	if isDamaged(err) {
		return r.doubtful(o) // as if it were missing
	}
	if err != nil {
		return err
	}
	if o.from > r.end+1 { // objects come in the order of from
		r.missing = o.from - 1
	}
	r.end = max(r.end, o.to)
	return nil
}

// tipPlaces is history.LogPlaces for a single commit.
func (r *reader) tipPlaces(ctx context.Context, s objstore.Store, key string) iter.Seq2[history.Place, error] {
	return history.HeadedPlaces(ctx, s, key, func(h history.Header) {
		if h.Number == r.tip.number {
			r.tip.random = h.Random
		}
	})
}

// isDamaged reports whether an object could not be read because of its content.
func isDamaged(err error) bool {
	return history.IsUnreadable(err) && !errors.Is(err, errChanged) && !errors.Is(err, errUses)
}

// doubtful notes the wanted packs that an unreadable commit named when it was readable.
func (r *reader) doubtful(o object) error {
	if r.old == nil || r.named == nil {
		return nil
	}
	u, err := r.old.find(o)
	if err != nil || u == nil {
		return err
	}
	for _, p := range u.Packs {
		if r.wanted[p] {
			r.doubt[p] = true
		}
	}
	return nil
}

// block reads an object in records/. If no checkpoint has places in it, somebody may still be reading
// the places of a checkpoint that retention has just removed: retention removes the object a day
// later.
func (r *reader) block(ctx context.Context, o object) error {
	id, ok := blocksID(o.rel)
	if !ok {
		return nil
	}
	_, named := r.blocks[id]
	if named {
		r.blocks[id] = true
	}
	err := r.use(ctx, o, history.ObjectPlaces)
	if !named && isDamaged(err) {
		return nil
	}
	return err
}

// packsIn reads the packs in the places of an object.
func (r *reader) packsIn(ctx context.Context, o object, places placesIn) (*use, error) {
	named := map[Pack]uint32{}
	for p, err := range places(ctx, r.pinned(o), o.Key) {
		if err != nil {
			return nil, r.gone(err)
		}
		if id, ok := packOf(p.Object); ok { // nothing else is ever removed
			named[id]++
		}
	}
	return useOf(named), nil
}

// useOf returns a line with the entries of packs.
func useOf(named map[Pack]uint32) *use {
	u := &use{}
	for p := range named {
		u.Packs = append(u.Packs, p)
	}
	slices.SortFunc(u.Packs, comparePacks)
	for _, p := range u.Packs {
		u.Entries = append(u.Entries, named[p])
	}
	return u
}

// gone returns errChanged for an object that was removed after it was listed.
func (r *reader) gone(err error) error {
	if errors.Is(err, objstore.ErrNotExist) {
		return fmt.Errorf("%w: %w", errChanged, err)
	}
	return err
}

// complete reports whether the list was complete.
func (r *reader) complete() error {
	if len(r.expected) > 0 {
		return fmt.Errorf("%w: %s was listed, and is not there any more", errChanged, r.expected[0].Key)
	}
	for b, listed := range r.blocks {
		if !listed {
			return fmt.Errorf("%w: %srecords/%x.tar.zst: %w: a checkpoint has its places there", errChanged, r.prefix, b, history.ErrAbsent)
		}
	}
	if r.newest > r.end {
		r.missing = max(r.missing, r.newest)
	}
	if r.newest == 0 && r.checkpoint > 0 {
		return fmt.Errorf("%w: %slog/: %w: there are checkpoints, and the newest commit is always kept", errChanged, r.prefix, history.ErrAbsent)
	}
	if r.missing > r.checkpoint {
		return fmt.Errorf("%w: commit %d: %w, or damaged, and no later checkpoint has its places", errChanged, r.missing, history.ErrAbsent)
	}
	return nil
}

// pinned returns the store for reading the listed version of an object.
func (r *reader) pinned(o object) objstore.Store { return pinnedStore{r.store, o.Info} }

// pinnedStore refuses another version of an object than a list has shown: its content must not
// be noted as that of the listed one.
type pinnedStore struct {
	objstore.Store
	listed objstore.Info
}

func (s pinnedStore) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	o, err := s.Store.Get(ctx, key, off, n)
	if err != nil || key != s.listed.Key {
		return o, err
	}
	if o.Size != s.listed.Size || cmp.Or(s.listed.ETag, o.ETag) != o.ETag {
		return nil, errors.Join(fmt.Errorf("%s: %w", key, errChanged), o.Close())
	}
	return o, nil
}
