package pack

import "io"

// Entry is the position of an entry in an object. It may be stored elsewhere and stays
// valid as long as the object exists, because objects never change.
type Entry struct {
	Name string
	Size int64 // bytes of the body
	Off  int64 // of the first frame that holds the body, in the object
	Len  int64 // of the consecutive frames that contain it, compressed
	Skip int64 // bytes before the body in the decompressed frames
	Raw  int64 // decompressed size of those frames; 0 = unknown, not checked
}

// Directory is the list of an object's entries, in order. It must not be changed; many
// goroutines may use it.
type Directory struct {
	Entries []Entry
	Random  [16]byte // makes the object unique

	index map[string]int
}

// Lookup finds an entry by its name.
func (d *Directory) Lookup(name string) (Entry, bool) {
	i, ok := d.index[name]
	if !ok {
		return Entry{}, false
	}
	return d.Entries[i], true
}

// frame is the length of a frame: compressed and decompressed, in bytes.
type frame struct{ comp, raw int64 }

// place computes the position of each entry from the order of the entries, their sizes and
// the lengths of the frames. Positions are not stored, so they cannot contradict the rest.
func (d *Directory) place(frames []frame) error {
	p := placer{frames: frames}
	for i := range d.Entries {
		if err := p.place(&d.Entries[i]); err != nil {
			return err
		}
	}
	p.advance()
	if len(p.frames) != 1 || p.at+tarEnd != p.start+p.frames[0].raw {
		return corrupt("directory: the archive does not end where its entries do")
	}
	return nil
}

type placer struct {
	frames []frame // frames not yet passed
	off    int64   // of the first of them in the object
	start  int64   // of the first of them in the archive
	at     int64   // of the next entry in the archive
}

// pass advances past a frame.
func (p *placer) pass() {
	p.off += p.frames[0].comp
	p.start += p.frames[0].raw
	p.frames = p.frames[1:]
}

// advance moves to the frame of the next entry.
func (p *placer) advance() {
	for len(p.frames) > 0 && p.at >= p.start+p.frames[0].raw {
		p.pass()
	}
}

func (p *placer) place(e *Entry) error {
	p.advance()
	if len(p.frames) == 0 {
		return corrupt("directory: entry %s is past the last frame", e.Name)
	}
	body := p.at + tarBlock
	end := body + padded(e.Size)
	if f := p.frames[0]; end <= p.start+f.raw {
		e.Off, e.Len, e.Skip, e.Raw = p.off, f.comp, body-p.start, f.raw
		p.at = end
		return nil
	}
	if p.at != p.start || p.frames[0].raw != tarBlock {
		return corrupt("directory: entry %s crosses the end of a frame", e.Name)
	}
	p.pass()
	e.Off, e.Raw = p.off, end-body
	for len(p.frames) > 0 && p.start < end {
		e.Len += p.frames[0].comp
		p.pass()
	}
	if p.start != end {
		return corrupt("directory: the frames of entry %s do not end with it", e.Name)
	}
	p.at = end
	return nil
}

// Fetch reads n bytes of the object from off. off < 0 requests the last -off bytes; n is
// then -off too.
type Fetch func(off, n int64) (io.ReadCloser, error)

// suffix is the size of the first request for an object's end: the directory of two
// thousand messages.
const suffix = 64 << 10

// ReadDirectory reads the directory of an object of size bytes. It calls fetch for the
// object's end, and a second time only if the directory is larger. It returns ErrCorrupt,
// ErrVersion or an error of fetch.
func ReadDirectory(fetch Fetch, size int64) (*Directory, error) {
	n := min(size, suffix)
	if n < int64(trailerSize) {
		return nil, corrupt("%d bytes are too few for an object", size)
	}
	tail, err := fetchAll(fetch, -n, n)
	if err != nil {
		return nil, err
	}
	length, err := directoryLength(tail, size)
	if err != nil {
		return nil, err
	}
	if length > n {
		if tail, err = fetchAll(fetch, size-length, length); err != nil {
			return nil, err
		}
	}
	return parseDirectory(tail[int64(len(tail))-length:], size-length)
}

func fetchAll(fetch Fetch, off, n int64) ([]byte, error) {
	r, err := fetch(off, n)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	err = readFull(r, b)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return b, err
}
