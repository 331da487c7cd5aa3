package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"backupd/objstore"
)

// maxNotes bounds moved/ and condemned.json objects, in bytes.
const maxNotes = 64 << 20

// CondemnedKey is the key of the list of packs that are to be deleted.
const CondemnedKey = "condemned.json"

// Moved says where the entries of a rewritten pack are now.
type Moved struct {
	Version int               `json:"version"`
	Pack    string            `json:"pack"`    // key of the old pack
	Time    time.Time         `json:"time"`    // store time
	Entries map[string]string `json:"entries"` // entry → key of the pack that holds it now; dropped ones are absent
}

// MovedKey is the key of the note about a pack: moved/ab/abcdef….json. ok is false
// for what is no key of a pack.
func MovedKey(pack string) (key string, ok bool) {
	name, isPack := strings.CutPrefix(pack, "packs/")
	name, hasSuffix := strings.CutSuffix(name, objectSuffix)
	if !isPack || !hasSuffix {
		return "", false
	}
	return "moved/" + name + ".json", true
}

// Append appends the bytes of the object, ending in a newline.
func (m *Moved) Append(dst []byte) ([]byte, error) { return appendNotes(dst, m) }

// ReadMoved reads the note about a pack; objstore.ErrNotExist when there is none.
func ReadMoved(ctx context.Context, s objstore.Store, pack string) (*Moved, error) {
	key, ok := MovedKey(pack)
	if !ok {
		return nil, fmt.Errorf("%s: not the key of a pack", pack)
	}
	m := new(Moved)
	if _, err := readNotes(ctx, s, key, m); err != nil {
		return nil, err
	}
	if m.Pack != pack {
		return nil, fmt.Errorf("%s: %w: it is about %s", key, ErrCorrupt, m.Pack)
	}
	return m, nil
}

// Condemned lists packs that are to be deleted.
type Condemned struct {
	Version int             `json:"version"`
	Packs   []CondemnedPack `json:"packs"` // in order of Key
}

// CondemnedPack is a pack that nothing has named since a count at Since.
type CondemnedPack struct {
	Key   string    `json:"key"`
	Since time.Time `json:"since"` // store time
}

// Has says whether the pack with this key is condemned.
func (c *Condemned) Has(key string) bool {
	for _, p := range c.Packs {
		if p.Key == key {
			return true
		}
	}
	return false
}

// Append appends the bytes of the object, ending in a newline.
func (c *Condemned) Append(dst []byte) ([]byte, error) { return appendNotes(dst, c) }

// ReadCondemned reads the list. Without an object it is empty and info is zero; else
// info's ETag is what a replacement has to match.
func ReadCondemned(ctx context.Context, s objstore.Store) (c *Condemned, info objstore.Info, err error) {
	c = &Condemned{Version: Version}
	info, err = readNotes(ctx, s, CondemnedKey, c)
	if errors.Is(err, objstore.ErrNotExist) {
		return &Condemned{Version: Version}, objstore.Info{}, nil
	}
	return c, info, err
}

func appendNotes(dst []byte, v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", " ")
	return append(append(dst, b...), '\n'), err
}

func readNotes(ctx context.Context, s objstore.Store, key string, v any) (objstore.Info, error) {
	obj, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return objstore.Info{}, err
	}
	b, err := io.ReadAll(io.LimitReader(obj, maxNotes+1))
	if err = closeAfter(obj, err); err != nil {
		return obj.Info, inObject(key, err)
	}
	if len(b) > maxNotes || !utf8.Valid(b) {
		return obj.Info, fmt.Errorf("%s: %w: too large or not UTF-8", key, ErrCorrupt)
	}
	if err := checkVersion(b); err != nil {
		return obj.Info, inObject(key, err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return obj.Info, fmt.Errorf("%s: %w: %w", key, ErrCorrupt, err)
	}
	return obj.Info, nil
}

// ResolvePlace says where an entry is now whose object p.Object was found absent: a
// rewritten pack has left a note in moved/, and a commit may have been merged into a
// segment, whose places say where it went. It goes one level, for what moves again
// is noted anew under the first name. ErrNoPlace when nothing is known.
func ResolvePlace(ctx context.Context, s objstore.Store, p Place) (Place, error) {
	if _, ok := MovedKey(p.Object); ok {
		return resolveMoved(ctx, s, p)
	}
	backup, n, ok := parseAnyLogKey(p.Object)
	if !ok {
		return Place{}, fmt.Errorf("chunk %s: %w since %s is absent", p.Chunk, ErrNoPlace, p.Object)
	}
	return resolveMerged(ctx, s, p, backup, n)
}

func resolveMoved(ctx context.Context, s objstore.Store, p Place) (Place, error) {
	m, err := ReadMoved(ctx, s, p.Object)
	if errors.Is(err, objstore.ErrNotExist) {
		return Place{}, fmt.Errorf("chunk %s: %w since %s is absent", p.Chunk, ErrNoPlace, p.Object)
	}
	if err != nil {
		return Place{}, err
	}
	object, ok := m.Entries[p.Entry]
	if !ok {
		return Place{}, fmt.Errorf("chunk %s: %w: %s was dropped when %s was rewritten", p.Chunk, ErrNoPlace, p.Entry, p.Object)
	}
	n := Place{Chunk: p.Chunk, Object: object, Entry: p.Entry}
	key, _ := MovedKey(p.Object)
	return n, inObject(key, n.check())
}

// parseAnyLogKey finds backup and number in the key of a commit or segment.
func parseAnyLogKey(key string) (backup string, n uint64, ok bool) {
	i := strings.LastIndex(key, "/log/")
	backup, found := strings.CutPrefix(key[:max(i, 0)], "backups/")
	if !found {
		return "", 0, false
	}
	n, _, ok = ParseLogKey(backup, key)
	return backup, n, ok
}

// resolveMerged looks for the chunk in the segment that holds commit n now.
func resolveMerged(ctx context.Context, s objstore.Store, p Place, backup string, n uint64) (Place, error) {
	l := &Log{Store: s, Backup: backup}
	list, err := l.segments(ctx)
	if err != nil {
		return Place{}, err
	}
	seg, ok := list.find(n)
	if !ok {
		return Place{}, fmt.Errorf("chunk %s: %w since %s is absent", p.Chunk, ErrNoPlace, p.Object)
	}
	for c, err := range readSegment(ctx, s, backup, seg.from, seg.to, n) {
		if err != nil {
			return Place{}, err
		}
		for now, err := range c.Places() {
			if err != nil {
				return Place{}, err
			}
			if now.Chunk == p.Chunk {
				return now, nil
			}
		}
	}
	return Place{}, fmt.Errorf("chunk %s: %w in %s", p.Chunk, ErrNoPlace, SegmentKey(backup, seg.from, seg.to))
}
