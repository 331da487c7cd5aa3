package partitions

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The index records the packs of a partition: which messages they contain (SharedKey) and
// where each chunk is stored (ChunkKey). Both entries are written when a pack is durable,
// before any commit names it. They are nevertheless correct, because they describe the bucket.

// shared is a message that any backup of the partition may refer to.
type shared struct {
	size   int64
	chunks []history.ChunkID
}

func (m shared) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(m.size))
	for _, c := range m.chunks {
		b = append(b, c[:]...)
	}
	return b
}

func decodeShared(b []byte) (shared, error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || (len(b)-n)%32 != 0 {
		return shared{}, errors.New("index: bad entry of a shared message")
	}
	m := shared{size: int64(size)}
	for b = b[n:]; len(b) > 0; b = b[32:] {
		m.chunks = append(m.chunks, history.ChunkID(b[:32]))
	}
	return m, nil
}

// chunkPlace is a place in a pack: the pack's hash and, for a whole message, its GUID. A piece
// has no GUID; its entry is named by the chunk.
type chunkPlace struct {
	pack  [32]byte
	guid  cyrus.GUID
	whole bool
}

func (p chunkPlace) encode() []byte {
	b := append(make([]byte, 0, 52), p.pack[:]...)
	if p.whole {
		b = append(b, p.guid[:]...)
	}
	return b
}

func decodeChunkPlace(b []byte) (chunkPlace, error) {
	switch len(b) {
	case 32:
		return chunkPlace{pack: [32]byte(b)}, nil
	case 52:
		return chunkPlace{pack: [32]byte(b[:32]), guid: cyrus.GUID(b[32:]), whole: true}, nil
	}
	return chunkPlace{}, errors.New("index: bad place of a chunk")
}

func (p chunkPlace) place(c history.ChunkID) history.Place {
	e := packedChunk{id: c, guid: p.guid, whole: p.whole}
	return history.Place{Chunk: c, Object: history.PackKey(p.pack), Entry: e.entry()}
}

// parsePlace is the inverse for places in a log. ok is false for a place in a commit, a
// segment, or a rewritten pack: those are found through the log.
func parsePlace(pl history.Place) (chunkPlace, bool) {
	var p chunkPlace
	const pre, post = "packs/xx/", ".tar.zst"
	if len(pl.Object) != len(pre)+64+len(post) || pl.Object[:6] != "packs/" {
		return p, false
	}
	if _, err := hex.Decode(p.pack[:], []byte(pl.Object[len(pre):len(pre)+64])); err != nil {
		return p, false
	}
	if len(pl.Entry) == 44 {
		g, err := cyrus.ParseGUID(pl.Entry[:40])
		if err != nil {
			return p, false
		}
		p.guid, p.whole = g, true
	}
	return p, true
}

// indexPack adds a durable pack to the index.
func (p *Partition) indexPack(key string, chunks []packedChunk) error {
	pl, ok := parsePlace(history.Place{Object: key})
	if !ok {
		return fmt.Errorf("index %s: not the key of a pack", key)
	}
	return p.set.index.UpdateLong(func(t *index.Txn) error {
		if p.lossCount().Count > 0 { // the pack may have been lost, and is now stored again
			if err := t.Delete(index.LostKey(p.name, pl.pack[:])); err != nil {
				return err
			}
		}
		for _, c := range chunks {
			if err := p.putPlace(t, c.id, chunkPlace{pack: pl.pack, guid: c.guid, whole: c.whole}); err != nil {
				return err
			}
			if !c.whole || c.private {
				continue
			}
			m := shared{c.size, []history.ChunkID{c.id}}
			if err := t.Set(index.SharedKey(p.name, c.guid[:]), m.encode()); err != nil {
				return err
			}
		}
		return nil
	})
}

// putPlace stores the newest place of a chunk. If that place is lost, it keeps a place that is
// already known. It remembers lost places, because a log may name no other place.
func (p *Partition) putPlace(t *index.Txn, c history.ChunkID, at chunkPlace) error {
	old, known, err := p.chunkAt(t, c)
	if err != nil || known && old == at {
		return err
	}
	lost, err := p.lost(t, c, at.pack)
	if err != nil {
		return err
	}
	if lost {
		if err := p.noteDependent(t, c, at.pack); err != nil || known {
			return err
		}
	}
	if known {
		if lost, err = p.lost(t, c, old.pack); err != nil {
			return err
		}
		if lost {
			if err := p.noteDependent(t, c, old.pack); err != nil {
				return err
			}
		}
	}
	return t.Set(index.ChunkKey(p.name, c[:]), at.encode())
}

// indexShared adds a message whose pieces are all in durable packs.
func (p *Partition) indexShared(t *index.Txn, g cyrus.GUID, m shared) error {
	return t.Set(index.SharedKey(p.name, g[:]), m.encode())
}

func (p *Partition) lookupShared(t *index.Txn, g cyrus.GUID) (shared, bool, error) {
	b, err := t.Get(index.SharedKey(p.name, g[:]))
	if errors.Is(err, index.ErrNotFound) {
		return shared{}, false, nil
	}
	if err != nil {
		return shared{}, false, err
	}
	m, err := decodeShared(b)
	return m, err == nil, err
}

// chunkAt returns the place of a chunk in the index, whether it is lost or not.
func (p *Partition) chunkAt(t *index.Txn, c history.ChunkID) (chunkPlace, bool, error) {
	b, err := t.Get(index.ChunkKey(p.name, c[:]))
	if errors.Is(err, index.ErrNotFound) {
		return chunkPlace{}, false, nil
	}
	if err != nil {
		return chunkPlace{}, false, err
	}
	at, err := decodeChunkPlace(b)
	return at, err == nil, err
}

// lookupChunk returns where a chunk can be read, unless the chunk is unknown or known to be
// lost.
func (p *Partition) lookupChunk(t *index.Txn, c history.ChunkID) (history.Place, bool, error) {
	at, ok, err := p.chunkAt(t, c)
	if err != nil || !ok {
		return history.Place{}, false, err
	}
	lost, err := p.lost(t, c, at.pack)
	return at.place(c), err == nil && !lost, err
}

// usable reports whether a chunk is stored in a pack that new records may refer to.
func (p *Partition) usable(t *index.Txn, dead *history.Condemned, c history.ChunkID) (bool, error) {
	at, ok, err := p.lookupChunk(t, c)
	return ok && !dead.Has(at.Object), err
}

// allUsable reports whether all chunks of a message are usable.
func (p *Partition) allUsable(t *index.Txn, dead *history.Condemned, chunks []history.ChunkID) (bool, error) {
	for _, c := range chunks {
		if ok, err := p.usable(t, dead, c); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}
