// Package pack reads and writes the one container that every object of a
// partition is: a stream of zstd frames that decompresses as a whole to a ustar
// file, and ends with a skippable frame that holds the object's directory
// (design.md 5, docs/format.md). It knows bytes, not stores.
package pack

/* API that other packages build on (implementation beside it):

type Level …                                   // ParseLevel("fastest"|"default"|"better"|…)
type Options struct { Level Level; FrameSize int } // zero: fastest with all-literal entropy coding, 256 KiB

// Writer builds one object in memory. Not safe for concurrent use. Encoders are pooled.
func NewWriter(buf []byte, o Options) *Writer  // appends to buf[:0]; the caller owns pooling
func (w *Writer) Add(name string, body []byte) error              // whole entry; ErrName for a name outside the fixed list
func (w *Writer) AddReader(name string, size int64, r io.Reader) error // streams a large entry frame by frame
func (w *Writer) Len() int                     // bytes of the object so far, pending raw bytes counted
func (w *Writer) Count() int
func (w *Writer) Finish() ([]byte, *Directory, error)   // closes frames, writes end-of-archive, directory, trailer

// Directory says where each entry lies.
type Entry struct {
	Name string
	Size int64   // bytes of the entry's body
	Off  int64   // of the first frame that holds its body, in the object
	Len  int64   // of the consecutive frames that hold it, compressed bytes
	Skip int64   // of the body in what those frames decompress to
}
type Directory struct { Entries []Entry; Random [16]byte; … }
func (d *Directory) Lookup(name string) (Entry, bool)

// Reading trusts nothing: sizes, names, checksums, window, ratio are checked; ErrCorrupt names what and where.
type Fetch func(off, n int64) (io.ReadCloser, error)     // off < 0: the last -off bytes
func ReadDirectory(fetch Fetch, size int64) (*Directory, error)  // one suffix GET, a second only for a huge directory
func OpenEntry(e Entry, frames io.Reader) io.ReadCloser          // frames: the e.Len bytes from e.Off; yields exactly e.Size bytes or an error
func Scan(r io.Reader, fn func(name string, size int64, body io.Reader) error) error  // the whole object as a stream, directory not needed

// Names: commit.ndjson places.ndjson state.json records.ndjson <guid 40 hex>.eml <sha256 64 hex>.part <sha256>.records …
*/
