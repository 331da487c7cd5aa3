package collection

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// The cache is a file on this host with the packs of each backup as of the last pass, so that
// an unchanged backup costs no request. It can be removed at any time. A record counts only
// if the fingerprint of the backup's objects is the same, which includes their ETags: a bucket
// that was restored to an older state has the same keys.
//
// A record is: the length of the prefix, the prefix, the fingerprint, then runs of packs with a
// number, each run after its length, the length 0, and the SHA-256 of all that. The last record has
// the prefix cacheEnd and no packs.

const cacheMagic = "backupd uses 4\n"

// cacheEnd is the prefix of the last record, after all others in their order. Caches of older programs
// lack it.
const cacheEnd = "\xff"

// cacheName returns the name of the cache of a repository. Nothing in a bucket chooses a name.
func cacheName(dir, repository, location, what string) string {
	sum := sha256.Sum256([]byte(repository + "\x00" + location))
	return filepath.Join(dir, hex.EncodeToString(sum[:16])+"."+what)
}

// cacheReader reads a cache in the order of its prefixes. It ends at the first damage.
type cacheReader struct {
	file   *os.File
	r      *bufio.Reader
	sum    hash.Hash
	prefix string // of the next record
	print  [32]byte
	end    bool
}

// openCache opens a cache. A cache that cannot be read is empty.
func openCache(name string) *cacheReader {
	c := &cacheReader{sum: sha256.New(), end: true}
	f, err := os.Open(name)
	if err != nil {
		return c
	}
	c.file, c.r = f, bufio.NewReaderSize(f, 256<<10)
	magic := make([]byte, len(cacheMagic))
	if _, err := io.ReadFull(c.r, magic); err != nil || string(magic) != cacheMagic {
		return c
	}
	c.end = false
	c.header()
	return c
}

func (c *cacheReader) close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// ReadByte reads a byte for binary.ReadUvarint.
func (c *cacheReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	c.sum.Write([]byte{b})
	return b, err
}

func (c *cacheReader) bytes(b []byte) error {
	_, err := io.ReadFull(c.r, b)
	c.sum.Write(b)
	return err
}

// maxPrefix is more than any key has.
const maxPrefix = 2048

func (c *cacheReader) header() {
	c.sum.Reset()
	n, err := binary.ReadUvarint(c)
	if err == nil && n > maxPrefix {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		prefix := make([]byte, n)
		err = c.bytes(prefix)
		c.prefix = string(prefix)
	}
	if err == nil {
		err = c.bytes(c.print[:])
	}
	c.end = err != nil
}

// body reads the packs of the record, and then the header of the next one. It reports
// whether the record is undamaged.
func (c *cacheReader) body(use func(packUse) error) (sound bool, err error) {
	for {
		n, err := binary.ReadUvarint(c)
		if err != nil {
			c.end = true
			return false, nil
		}
		if n == 0 {
			break
		}
		for range n {
			var b [cachedPack]byte
			if err := c.bytes(b[:]); err != nil {
				c.end = true
				return false, nil
			}
			n := binary.BigEndian.Uint32(b[32:])
			if err := use(packUse{Pack(b[:32]), uint64(n & mostCached), n&cachedPlaced != 0, n&cachedLogged != 0}); err != nil {
				return false, err
			}
		}
	}
	var sum, want [32]byte
	c.sum.Sum(sum[:0])
	if _, err := io.ReadFull(c.r, want[:]); err != nil || sum != want {
		c.end = true
		return false, nil
	}
	c.header()
	return true, nil
}

// find returns the packs of a backup with these objects, or nil. Calls are in the order of
// the prefixes.
func (c *cacheReader) find(prefix string, print [32]byte) (*usageSet, error) {
	skip := func(packUse) error { return nil }
	for !c.end && c.prefix < prefix {
		if _, err := c.body(skip); err != nil {
			return nil, err
		}
	}
	if c.end || c.prefix != prefix || c.print != print {
		return nil, nil
	}
	s := newUsageSet(packsOfBackup)
	sound, err := c.body(func(p packUse) (err error) {
		if p.placed {
			err = s.add(newUsage(p.Pack, inState, 0, clip(p.entries)))
		}
		if err == nil && (p.logged || !p.placed) {
			err = s.add(newUsage(p.Pack, inLog, 0, clip(p.entries)))
		}
		return err
	})
	if err != nil || !sound {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// cacheWriter writes the cache for the next pass. The zero value writes nothing.
type cacheWriter struct {
	name string
	file *os.File
	w    *bufio.Writer
	sum  hash.Hash
}

// newCacheWriter begins a cache, or none if dir is "".
func newCacheWriter(dir, name string) (*cacheWriter, error) {
	if dir == "" {
		return &cacheWriter{}, nil
	}
	f, err := os.CreateTemp(dir, filepath.Base(name)+".new-")
	if err != nil {
		return nil, err
	}
	c := &cacheWriter{name: name, file: f, w: bufio.NewWriterSize(f, 256<<10), sum: sha256.New()}
	_, err = c.w.WriteString(cacheMagic)
	return c, err
}

// cacheRun is how many packs of a record are written after one length.
const cacheRun = 4096

// cachedPack is the length of a pack in a record.
const cachedPack = 32 + 4

// The number of a pack has two bits for packUse.placed and packUse.logged.
const (
	cachedPlaced = 1 << 31
	cachedLogged = 1 << 30
	mostCached   = cachedLogged - 1
)

// clip makes a number of entries fit.
func clip(n uint64) uint32 { return uint32(min(n, mostCached)) }

// add writes a record.
func (c *cacheWriter) add(prefix string, print [32]byte, packs iter.Seq2[packUse, error]) error {
	if c.file == nil {
		return nil
	}
	c.sum.Reset()
	both := io.MultiWriter(c.w, c.sum)
	head := binary.AppendUvarint(nil, uint64(len(prefix)))
	head = append(append(head, prefix...), print[:]...)
	if _, err := both.Write(head); err != nil {
		return err
	}
	var part bytes.Buffer
	flush := func() error {
		if part.Len() == 0 {
			return nil
		}
		n := binary.AppendUvarint(nil, uint64(part.Len()/cachedPack))
		if _, err := both.Write(n); err != nil {
			return err
		}
		_, err := part.WriteTo(both)
		return err
	}
	for p, err := range packs {
		if err != nil {
			return err
		}
		n := clip(p.entries)
		if p.placed {
			n |= cachedPlaced
		}
		if p.logged {
			n |= cachedLogged
		}
		part.Write(binary.BigEndian.AppendUint32(p.Pack[:], n))
		if part.Len() == cacheRun*cachedPack {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if _, err := both.Write([]byte{0}); err != nil {
		return err
	}
	_, err := c.w.Write(c.sum.Sum(nil))
	return err
}

// done replaces the cache of the last pass.
func (c *cacheWriter) done() error {
	if c.file == nil {
		return nil
	}
	name := c.file.Name()
	err := c.add(cacheEnd, [32]byte{}, func(func(packUse, error) bool) {})
	err = errors.Join(err, c.w.Flush(), c.file.Close())
	c.file = nil
	if err == nil {
		err = os.Rename(name, c.name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// drop ends a cache that is incomplete.
func (c *cacheWriter) drop() {
	if c.file == nil {
		return
	}
	_ = c.file.Close()
	_ = os.Remove(c.file.Name()) // the next pass writes another one
	c.file = nil
}
