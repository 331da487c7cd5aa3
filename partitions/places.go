package partitions

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// The index records the packs of a partition: which messages they contain (SharedKey) and
// where each chunk is stored. A message that is one entry of a pack has its place in its
// SharedKey; every other chunk has a ChunkKey. The entries are written when a pack is
// durable, before any commit names it. They are nevertheless correct, because they describe
// the bucket.

// shared is a message that any backup of the partition may refer to.
type shared struct {
	size   int64
	chunks []history.ChunkID
	pack   uint64 // number of the pack that contains it as one entry; 0 = see the chunks
}

// chunkPlace is a place in a pack: the pack's hash and, for a whole message, its GUID. A piece
// has no GUID; its entry is named by the chunk.
type chunkPlace struct {
	pack  [32]byte
	guid  cyrus.GUID
	whole bool
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

// sole returns the GUID of a message with one chunk. For any other message it returns zero,
// because the places of its chunks do not depend on the message.
func sole(g cyrus.GUID, chunks []history.ChunkID) cyrus.GUID {
	if len(chunks) == 1 {
		return g
	}
	return cyrus.GUID{}
}

// lookupShared returns a message that backups share.
func (p *Partition) lookupShared(t *index.Txn, g cyrus.GUID) (m shared, ok bool, err error) {
	return p.sharedLookup(t).find(g, nil)
}

// sharedLookup looks up messages that backups share. It reuses its memory.
type sharedLookup struct {
	t     *index.Txn
	key   index.Key
	value indexvalue.Shared
	parse func([]byte) error // reads value
}

func (p *Partition) sharedLookup(t *index.Txn) *sharedLookup {
	l := &sharedLookup{t: t, key: index.SharedKey(p.name, make([]byte, len(cyrus.GUID{})))}
	l.parse = func(b []byte) error { return indexvalue.ParseShared(b, &l.value) }
	return l
}

// find returns a message. It uses memory for the chunks if that is large enough.
func (l *sharedLookup) find(g cyrus.GUID, memory []history.ChunkID) (m shared, ok bool, err error) {
	l.value = indexvalue.Shared{Chunks: memory}
	err = l.t.Value(l.key.WithGUID(g), l.parse)
	if errors.Is(err, index.ErrNotFound) {
		return m, false, nil
	}
	return shared{l.value.Size, l.value.Chunks, l.value.Pack}, err == nil, err
}

// lacks reports whether the index certainly lacks a message, without reading it.
func (l *sharedLookup) lacks(g cyrus.GUID) bool { return l.t.Lacks(l.key.WithGUID(g)) }

// indexShared adds a message whose chunks are all in durable packs.
func (p *Partition) indexShared(t *index.Txn, g cyrus.GUID, m shared) error {
	v := indexvalue.Shared{Size: m.size, Chunks: m.chunks, Pack: m.pack}
	return t.SetCopy(index.SharedKey(p.name, g[:]), indexvalue.AppendShared(make([]byte, 0, messageBytes), v))
}

// indexPieces adds a message whose chunks are pieces. If it was one entry of a pack, that place
// remains known: a log may name no other one.
func (p *Partition) indexPieces(t *index.Txn, g cyrus.GUID, m shared) error {
	old, ok, err := p.lookupShared(t, g)
	if err != nil {
		return err
	}
	if ok && old.pack != 0 {
		if err := p.keepWhole(t, g, old); err != nil {
			return err
		}
	}
	return p.indexShared(t, g, m)
}

// keepWhole gives the chunk of a message that is one entry of a pack a ChunkKey, unless it has one.
func (p *Partition) keepWhole(t *index.Txn, g cyrus.GUID, m shared) error {
	c := m.chunks[0]
	if has, err := t.Has(index.ChunkKey(p.name, c[:])); err != nil || has {
		return err
	}
	return p.writePlace(t, c, chunkPlace{guid: g, whole: true}, m.pack)
}

// wholeAt returns the place of a message as one entry of a pack, if its only chunk is c.
func (p *Partition) wholeAt(t *index.Txn, g cyrus.GUID, c history.ChunkID) (at chunkPlace, known bool, err error) {
	m, ok, err := p.lookupShared(t, g)
	if err != nil || !ok || m.pack == 0 || m.chunks[0] != c {
		return at, false, err
	}
	pack, err := p.numbers.pack(t, m.pack)
	return chunkPlace{pack: pack, guid: g, whole: true}, err == nil, err
}

// pieceAt returns the place in a ChunkKey.
func (p *Partition) pieceAt(t *index.Txn, c history.ChunkID) (at chunkPlace, known bool, err error) {
	var v indexvalue.ChunkPlace
	err = t.Value(index.ChunkKey(p.name, c[:]), func(b []byte) (err error) {
		v, err = indexvalue.ParseChunkPlace(b)
		return err
	})
	if errors.Is(err, index.ErrNotFound) {
		return at, false, nil
	}
	if err != nil {
		return at, false, err
	}
	pack, err := p.numbers.pack(t, v.Pack)
	return chunkPlace{pack: pack, guid: v.GUID, whole: v.Whole}, err == nil, err
}

// chunkAt returns the place of a chunk in the index, whether it is lost or not: a readable
// one, if there is one. of is the message whose only chunk is c, or zero (sole).
func (p *Partition) chunkAt(t *index.Txn, of cyrus.GUID, c history.ChunkID) (at chunkPlace, known bool, err error) {
	at, known, _, err = p.findChunk(t, of, c)
	return at, known, err
}

// lookupChunk returns where a chunk can be read, unless the chunk is unknown or known to be
// lost. of is as in chunkAt.
func (p *Partition) lookupChunk(t *index.Txn, of cyrus.GUID, c history.ChunkID) (history.Place, bool, error) {
	at, known, lost, err := p.findChunk(t, of, c)
	if err != nil || !known {
		return history.Place{}, false, err
	}
	return at.place(c), !lost, nil
}

func (p *Partition) findChunk(t *index.Txn, of cyrus.GUID, c history.ChunkID) (at chunkPlace, known, lost bool, err error) {
	if of != (cyrus.GUID{}) {
		if at, known, err = p.wholeAt(t, of, c); err != nil {
			return at, false, false, err
		}
		if known {
			if lost, err = p.lost(t, c, at.pack); err != nil || !lost {
				return at, true, lost, err
			}
		}
	}
	piece, ok, err := p.pieceAt(t, c)
	if err != nil || !ok {
		return at, known, lost, err
	}
	lost, err = p.lost(t, c, piece.pack)
	return piece, true, lost, err
}

// usable reports whether a chunk is stored in a pack that new records may refer to.
func (p *Partition) usable(t *index.Txn, dead *history.Condemned, of cyrus.GUID, c history.ChunkID) (bool, error) {
	at, ok, err := p.lookupChunk(t, of, c)
	return ok && !dead.Has(at.Object), err
}

// allUsable reports whether all chunks of a message are usable.
func (p *Partition) allUsable(t *index.Txn, dead *history.Condemned, g cyrus.GUID, chunks []history.ChunkID) (bool, error) {
	for _, c := range chunks {
		if ok, err := p.usable(t, dead, sole(g, chunks), c); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// sharedUsable is allUsable for a message that lookupShared has found. Usually it reads
// nothing.
func (p *Partition) sharedUsable(t *index.Txn, dead *history.Condemned, g cyrus.GUID, m shared) (bool, error) {
	if m.pack != 0 && len(dead.Packs) == 0 && p.lossCount().Count == 0 {
		return true, nil
	}
	if m.pack != 0 && p.lossCount().Count == 0 {
		pack, err := p.numbers.pack(t, m.pack)
		return err == nil && !dead.Has(history.PackKey(pack)), err
	}
	return p.allUsable(t, dead, g, m.chunks)
}

// indexPack adds a durable pack to the index, and returns its number there.
func (p *Partition) indexPack(key string, chunks []packedChunk) (number uint64, err error) {
	pl, ok := parsePlace(history.Place{Object: key})
	if !ok {
		return 0, fmt.Errorf("index %s: not the key of a pack", key)
	}
	err = p.numbers.update([][32]byte{pl.pack}, func(t *index.Txn, numbers []uint64) error {
		number = numbers[0]
		if p.lossCount().Count > 0 { // the pack may have been lost, and is now stored again
			if err := t.Delete(index.LostKey(p.name, pl.pack[:])); err != nil {
				return err
			}
		}
		for _, c := range chunks {
			at := chunkPlace{pack: pl.pack, guid: c.guid, whole: c.whole}
			if err := p.indexChunk(t, c, at, number); err != nil {
				return err
			}
		}
		return nil
	})
	return number, err
}

// indexChunk adds a chunk of a durable pack.
func (p *Partition) indexChunk(t *index.Txn, c packedChunk, at chunkPlace, number uint64) error {
	if !c.whole || c.private {
		return p.putPlace(t, c.id, at, number)
	}
	if p.lossCount().Count > 0 {
		if _, err := p.replaces(t, c.id, at); err != nil {
			return err
		}
	}
	return p.indexShared(t, c.guid, shared{c.size, []history.ChunkID{c.id}, number})
}

// putPlace stores the newest place of a chunk. If that place is lost, it keeps a place that is
// already known. It remembers lost places, because a log may name no other place.
func (p *Partition) putPlace(t *index.Txn, c history.ChunkID, at chunkPlace, number uint64) error {
	if p.lossCount().Count > 0 {
		if replaces, err := p.replaces(t, c, at); err != nil || !replaces {
			return err
		}
	}
	if _, err := p.moveWhole(t, c, at, number); err != nil {
		return err
	}
	return p.writePlace(t, c, at, number)
}

// replaces reports whether a place is to be stored, and remembers lost places.
func (p *Partition) replaces(t *index.Txn, c history.ChunkID, at chunkPlace) (bool, error) {
	old, known, err := p.chunkAt(t, at.guid, c)
	if err != nil || known && old == at {
		return false, err
	}
	lost, err := p.lost(t, c, at.pack)
	if err != nil {
		return false, err
	}
	if lost {
		if err := p.noteDependent(t, c, at.pack); err != nil || known {
			return false, err
		}
	}
	if known {
		if lost, err = p.lost(t, c, old.pack); err != nil {
			return false, err
		}
		if lost {
			if err := p.noteDependent(t, c, old.pack); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// writePlace writes the ChunkKey of a place.
func (p *Partition) writePlace(t *index.Txn, c history.ChunkID, at chunkPlace, number uint64) error {
	v := indexvalue.ChunkPlace{Pack: number, GUID: at.guid, Whole: at.whole}
	return t.Set(index.ChunkKey(p.name, c[:]), indexvalue.AppendChunkPlace(nil, v))
}

// movePlace replaces the place of a chunk whose pack was rewritten.
func (p *Partition) movePlace(t *index.Txn, c history.ChunkID, at chunkPlace) error {
	number, err := p.numbers.number(at.pack)
	if err != nil {
		return err
	}
	moved, err := p.moveWhole(t, c, at, number)
	if err != nil {
		return err
	}
	if moved {
		if has, err := t.Has(index.ChunkKey(p.name, c[:])); err != nil || !has {
			return err
		}
	}
	return p.writePlace(t, c, at, number)
}

// moveWhole replaces the place in a SharedKey, if it has one for this chunk.
func (p *Partition) moveWhole(t *index.Txn, c history.ChunkID, at chunkPlace, number uint64) (moved bool, err error) {
	if !at.whole {
		return false, nil
	}
	m, ok, err := p.lookupShared(t, at.guid)
	if err != nil || !ok || m.pack == 0 || m.chunks[0] != c {
		return false, err
	}
	m.pack = number
	return true, p.indexShared(t, at.guid, m)
}
