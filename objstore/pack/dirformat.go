package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// The bytes of a directory (docs/format.md 1.4).
const (
	version = 1

	skippableMagic = 0x184D2A50
	// directoryID is the low digit of the skippable frame's magic. Other digits are in use:
	// 0 by pzstd, 14 by the seekable format.
	directoryID     = 0xB
	skippableHead   = 8
	trailerMagic    = "bkupdir\n"
	trailerChecksum = 8
	trailerSize     = 4 + trailerChecksum + 8

	// maxDirectory and maxEntries limit the memory of a reader.
	maxDirectory = 32 << 20
	maxEntries   = 1 << 19
)

// appendDirectory appends the directory as a skippable frame. names contains the entries in
// the form of appendEntry.
func appendDirectory(b []byte, random [16]byte, frames []frame, count int, names []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, skippableHead)...)
	b = append(b, version)
	b = append(b, random[:]...)
	b = append(b, 0, 0) // features; extension
	b = binary.AppendUvarint(b, uint64(len(frames)))
	for _, f := range frames {
		b = binary.AppendUvarint(b, uint64(f.comp))
		b = binary.AppendUvarint(b, uint64(f.raw/tarBlock))
	}
	b = binary.AppendUvarint(b, uint64(count))
	b = append(b, names...)
	return appendTrailer(b, start)
}

func appendEntry(b []byte, name *Name, size int64) []byte {
	return binary.AppendUvarint(append(b, name.bytes()...), uint64(size))
}

// appendTrailer completes the skippable frame that begins at start.
func appendTrailer(b []byte, start int) []byte {
	length := len(b) - start + trailerSize
	head := directoryHead(length)
	copy(b[start:], head[:])
	b = binary.LittleEndian.AppendUint32(b, uint32(length))
	sum := sha256.Sum256(b[start:])
	b = append(b, sum[:trailerChecksum]...)
	return append(b, trailerMagic...)
}

// directoryHead is the head of a directory frame of this length, in zstd's format.
func directoryHead(length int) (h [skippableHead]byte) {
	binary.LittleEndian.PutUint32(h[:], skippableMagic|directoryID)
	binary.LittleEndian.PutUint32(h[4:], uint32(length-skippableHead))
	return h
}

// directoryLength reads the trailer at the end of tail, the last bytes of an object of size
// bytes, and returns the length of the whole directory frame.
func directoryLength(tail []byte, size int64) (int64, error) {
	t := tail[len(tail)-trailerSize:]
	if string(t[4+trailerChecksum:]) != trailerMagic {
		return 0, corrupt("no directory at the end: the object is truncated or has another format")
	}
	length := int64(binary.LittleEndian.Uint32(t))
	if length < skippableHead+trailerSize || length > size || length > maxDirectory {
		return 0, corrupt("directory of %d bytes in an object of %d", length, size)
	}
	return length, nil
}

// parseDirectory reads the whole directory frame of an object with data bytes before it.
func parseDirectory(b []byte, data int64) (*Directory, error) {
	head, signed := directoryHead(len(b)), b[:len(b)-trailerChecksum-len(trailerMagic)]
	if sum := sha256.Sum256(signed); !bytes.HasPrefix(b, head[:]) || !bytes.Equal(sum[:trailerChecksum], b[len(signed):][:trailerChecksum]) {
		return nil, corrupt("directory does not match its checksum")
	}
	body := b[skippableHead : len(b)-trailerSize]
	d := &Directory{}
	if len(body) < 1+len(d.Random) {
		return nil, corrupt("directory is too short")
	}
	if body[0] != version {
		return nil, fmt.Errorf("%w: format version %d, this software supports %d", ErrVersion, body[0], version)
	}
	body = body[1+copy(d.Random[:], body[1:]):]
	body, err := cutExtension(body)
	if err != nil {
		return nil, err
	}
	frames, body, err := cutFrames(body, data)
	if err != nil {
		return nil, err
	}
	if err := d.cutEntries(body); err != nil {
		return nil, err
	}
	return d, d.place(frames)
}

// cutExtension removes the part that later versions may put before the frames: features
// that a reader must know, and bytes that it may skip.
func cutExtension(b []byte) ([]byte, error) {
	features, b, err := cutUvarint(b, 1<<63)
	if err != nil {
		return nil, err
	}
	if features != 0 {
		return nil, fmt.Errorf("%w: features %#x", ErrVersion, features)
	}
	n, b, err := cutUvarint(b, uint64(len(b)))
	if err != nil || n > uint64(len(b)) {
		return nil, corrupt("directory: extension of %d bytes", n)
	}
	return b[n:], nil
}

// cutFrames removes the lengths of the frames; their sum is the length of the data.
func cutFrames(b []byte, data int64) ([]frame, []byte, error) {
	n, b, err := cutUvarint(b, uint64(len(b)/2))
	if err != nil {
		return nil, nil, err
	}
	frames := make([]frame, n)
	for i := range frames {
		var comp, blocks uint64
		if comp, b, err = cutUvarint(b, uint64(data)); err != nil {
			return nil, nil, err
		}
		if blocks, b, err = cutUvarint(b, maxFrame/tarBlock); err != nil {
			return nil, nil, err
		}
		f := frame{int64(comp), int64(blocks) * tarBlock}
		if data -= f.comp; f.comp == 0 || f.raw == 0 || f.comp > maxCompressed(f.raw) {
			return nil, nil, corrupt("directory: frame %d of %d bytes from %d", i, f.raw, f.comp)
		}
		frames[i] = f
	}
	if data != 0 {
		return nil, nil, corrupt("directory: %d bytes of data belong to no frame", data)
	}
	return frames, b, nil
}

// cutEntries reads the entries, to the end of b.
func (d *Directory) cutEntries(b []byte) error {
	n, b, err := cutUvarint(b, maxEntries)
	if err != nil {
		return err
	}
	// The count is untrusted: allocate only for the bytes that exist.
	guess := min(int(n), len(b)/16+1)
	d.Entries = make([]Entry, 0, guess)
	d.index = make(map[string]int, guess)
	for i := range int(n) {
		var e Entry
		if e.Name, b, err = cutName(b); err != nil {
			return err
		}
		var size uint64
		if size, b, err = cutUvarint(b, maxSize); err != nil {
			return err
		}
		e.Size = int64(size)
		if _, twice := d.index[e.Name]; twice {
			return corrupt("directory: duplicate entry %s", e.Name)
		}
		d.index[e.Name] = i
		d.Entries = append(d.Entries, e)
	}
	if len(b) != 0 {
		return corrupt("directory: %d bytes after its entries", len(b))
	}
	return nil
}
