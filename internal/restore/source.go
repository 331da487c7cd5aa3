package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// inMemory is the largest message that is kept in memory between bucket and destination;
// larger ones use a temporary file.
const inMemory = 4 << 20

// Source is a backup at a moment. Its methods may be called from many goroutines.
type Source struct {
	Objects *history.Objects
	Limit   *rate.Limiter // of message bytes per second; nil = none
	// KeepDeleted keeps \Deleted on messages that had been expunged. By default the flag is
	// removed, because clients hide such messages and the next EXPUNGE deletes them again.
	KeepDeleted bool

	mu  sync.Mutex
	mem *history.Mem
	// The mailboxes of refs, and their indexes.
	boxes []string
	index map[string]uint32
	kept  map[history.Frame]*frame // see keptFrames

	decoded atomic.Int64 // frames, by LoadMessages
}

// NewSource reads the backup whose state is mem.
func NewSource(mem *history.Mem, objects *history.Objects) *Source {
	return &Source{Objects: objects, mem: mem, index: map[string]uint32{}}
}

// ref returns the Ref of a record. The caller holds mu.
func (s *Source) ref(uniqueid string, uid uint32) Ref {
	n, ok := s.index[uniqueid]
	if !ok {
		n = uint32(len(s.boxes))
		s.boxes, s.index[uniqueid] = append(s.boxes, uniqueid), n
	}
	return Ref{box: n, UID: uid}
}

// UniqueID returns the mailbox of a Ref.
func (s *Source) UniqueID(r Ref) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boxes[r.box]
}

// Message is a message of a mailbox, ready to restore.
type Message struct {
	cyrus.Record       // without \Expunged; see Source.KeepDeleted for \Deleted
	Deleted      bool  // expunged in the backup
	Expunged     int64 // when, in seconds since the epoch; 0 = live
}

// Message reads the record of a reference.
func (s *Source) Message(r Ref) (*Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, err := s.mem.Record(s.boxes[r.box], r.UID)
	if err != nil {
		return nil, err
	}
	if rec == nil {
		return nil, fmt.Errorf("mailbox %s has no uid %d", s.boxes[r.box], r.UID)
	}
	return s.message(rec), nil
}

func (s *Source) message(rec *history.RecordState) *Message {
	m := &Message{Record: rec.Record, Deleted: rec.Expunged != 0 || rec.Record.Expunged(), Expunged: rec.Expunged}
	if m.Deleted {
		m.Flags = slices.DeleteFunc(slices.Clone(rec.Flags), func(f string) bool {
			return equalFold(f, `\Expunged`) || !s.KeepDeleted && equalFold(f, `\Deleted`)
		})
	}
	return m
}

// EachLive calls fn with every record of a mailbox that is not expunged; fn must not use
// the Source.
func (s *Source) EachLive(uniqueid string, fn func(*cyrus.Record) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for rec, err := range s.mem.Records(uniqueid, 0) {
		if err != nil {
			return err
		}
		if rec.Expunged != 0 || rec.Record.Expunged() {
			continue
		}
		if err := fn(&rec.Record); err != nil {
			return err
		}
	}
	return nil
}

// ErrState is an error in the state of the backup itself: nothing can be restored.
var ErrState = errors.New("the state of the backup")

// ErrNotHeld means that the body of a message never reached the backup.
var ErrNotHeld = errors.New("the message body is not in the backup")

// Held returns the size of a message, or an error if the backup does not have its body.
func (s *Source) Held(g cyrus.GUID) (size int64, err error) {
	m, err := s.state(g)
	if err != nil {
		return 0, err
	}
	return m.Size, nil
}

func (s *Source) state(g cyrus.GUID) (*history.MessageState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.mem.Message(g)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	switch {
	case m != nil && !m.Erased.IsZero():
		return nil, m.BodyError()
	case m == nil || m.Missing:
		return nil, fmt.Errorf("message %s: %w", g, ErrNotHeld)
	}
	return m, nil
}

func (s *Source) places(c history.ChunkID) ([]history.Place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := s.mem.Places(c)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrState, err)
	}
	return list, err
}

// Body is a message whose bytes match its GUID.
type Body struct {
	io.ReadSeeker
	Size int64
	file *os.File
}

// newBody returns a body in memory. Nobody may change b.
func newBody(b []byte) *Body {
	return &Body{ReadSeeker: bytes.NewReader(b), Size: int64(len(b))}
}

// WriteTo implements io.WriterTo: a body in memory takes a single Write.
func (b *Body) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, b.ReadSeeker) }

// Close frees the body. It may be called twice, because the sender closes the body as well.
func (b *Body) Close() error {
	f := b.file
	if f == nil {
		return nil
	}
	b.file = nil
	return f.Close()
}

// Load reads a message, checks it, and keeps it until the Body is closed.
func (s *Source) Load(ctx context.Context, g cyrus.GUID) (*Body, error) {
	m, err := s.state(g)
	if err != nil {
		return nil, err
	}
	r, err := history.OpenMessage(ctx, s.Objects, m, s.places)
	if err != nil {
		return nil, err
	}
	b, err := s.fill(ctx, r, m.Size)
	if closed := r.Close(); err == nil && closed != nil {
		err = errors.Join(closed, b.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", g, err)
	}
	return b, nil
}

func (s *Source) fill(ctx context.Context, r io.Reader, size int64) (*Body, error) {
	r = s.limited(ctx, r)
	if size <= inMemory {
		buf := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
		if _, err := buf.ReadFrom(r); err != nil {
			return nil, err
		}
		return newBody(buf.Bytes()), nil
	}
	f, err := os.CreateTemp("", "restore-*.eml")
	if err != nil {
		return nil, err
	}
	// Without a name the file disappears when the program ends, however it ends.
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, r)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Body{ReadSeeker: f, Size: size, file: f}, nil
}

// limited throttles a reader to the rate.
func (s *Source) limited(ctx context.Context, r io.Reader) io.Reader {
	if s.Limit == nil {
		return r
	}
	return &limitedReader{ctx, r, s.Limit}
}

type limitedReader struct {
	ctx   context.Context
	r     io.Reader
	limit *rate.Limiter
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), l.limit.Burst())])
	if n > 0 {
		if werr := l.limit.WaitN(l.ctx, n); werr != nil {
			return n, werr
		}
	}
	return n, err
}
