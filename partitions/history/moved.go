package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cyrusbackup/backupd/objstore"
)

// maxNotes is the maximum size of moved/ and condemned.json objects, in bytes.
const maxNotes = 64 << 20

// CondemnedKey is the key of the list of packs to be deleted.
const CondemnedKey = "condemned.json"

// Moved is the note about a rewritten pack: the new packs of its entries.
type Moved struct {
	Version int               `json:"version"`
	Pack    string            `json:"pack"`    // key of the old pack
	Time    time.Time         `json:"time"`    // store time
	Entries map[string]string `json:"entries"` // entry → key of its new pack; without dropped entries
	// Unused reports whether all dropped entries were dropped because nothing named them. It is nil in
	// a note that does not say so: then some may have been damaged, unless no entry is left.
	Unused *bool `json:"unused,omitempty"`
}

// NothingLost reports whether an entry that the note lacks was dropped because nothing named it.
func (m *Moved) NothingLost() bool {
	if m.Unused != nil {
		return *m.Unused
	}
	return len(m.Entries) == 0
}

// Drop removes an entry. The note still shows whether others may have been damaged.
func (m *Moved) Drop(entry string) {
	nothing := m.NothingLost()
	delete(m.Entries, entry)
	if m.Unused == nil && !nothing && len(m.Entries) == 0 {
		m.Unused = new(bool)
	}
}

// MovedKey returns the key of the note about a pack: moved/ab/abcdef….json. ok is false if
// pack is not the key of a pack.
func MovedKey(pack string) (key string, ok bool) {
	name, isPack := strings.CutPrefix(pack, "packs/")
	name, hasSuffix := strings.CutSuffix(name, objectSuffix)
	if !isPack || !hasSuffix {
		return "", false
	}
	return "moved/" + name + ".json", true
}

// Append appends the bytes of the object, with a newline at the end.
func (m *Moved) Append(dst []byte) ([]byte, error) { return appendNotes(dst, m) }

// ReadMoved reads the note about a pack. The error is objstore.ErrNotExist if there is
// none. A replacement must match the ETag of info.
func ReadMoved(ctx context.Context, s objstore.Store, pack string) (m *Moved, info objstore.Info, err error) {
	key, ok := MovedKey(pack)
	if !ok {
		return nil, info, fmt.Errorf("%s: not the key of a pack", pack)
	}
	m = new(Moved)
	if info, err = readNotes(ctx, s, key, m); err != nil {
		return nil, info, err
	}
	if m.Pack != pack {
		return nil, info, fmt.Errorf("%s: %w: the note is about another pack, %s", key, ErrCorrupt, m.Pack)
	}
	return m, info, nil
}

// Condemned lists packs to be deleted.
type Condemned struct {
	Version int             `json:"version"`
	Packs   []CondemnedPack `json:"packs"` // in order of Key
}

// CondemnedPack is a pack without any reference since Since, when references were counted.
type CondemnedPack struct {
	Key   string    `json:"key"`
	Since time.Time `json:"since"` // store time
}

// Has reports whether the pack with this key is condemned.
func (c *Condemned) Has(key string) bool {
	if len(c.Packs) == 0 {
		return false
	}
	_, found := slices.BinarySearchFunc(c.Packs, key, func(p CondemnedPack, key string) int { return strings.Compare(p.Key, key) })
	return found
}

// Append appends the bytes of the object, with a newline at the end.
func (c *Condemned) Append(dst []byte) ([]byte, error) { return appendNotes(dst, c) }

// ReadCondemned reads the list. Without an object, the list is empty and info has no ETag. A
// replacement must match the ETag of info.
func ReadCondemned(ctx context.Context, s objstore.Store) (c *Condemned, info objstore.Info, err error) {
	c = &Condemned{Version: Version}
	info, err = readNotes(ctx, s, CondemnedKey, c)
	if errors.Is(err, objstore.ErrNotExist) {
		return &Condemned{Version: Version}, objstore.Info{StoreTime: objstore.StoreTimeOf(err)}, nil
	}
	slices.SortFunc(c.Packs, func(a, b CondemnedPack) int { return strings.Compare(a.Key, b.Key) }) // for Has
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
	if err := checkVersion(b, Version); err != nil {
		return obj.Info, inObject(key, err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return obj.Info, fmt.Errorf("%s: %w: %w", key, ErrCorrupt, err)
	}
	return obj.Info, nil
}
