package dirstore

import (
	"context"
	"io"
	"os"
	"time"
)

// readAtLeast and readAtMost limit how much of a body one system call reads.
const readAtLeast, readAtMost = 32 << 10, 256 << 10

// body reads a file by system calls that can be abandoned. They read into a private buffer,
// because a caller who has left may reuse the buffer passed to Read.
type body struct {
	s         *Store
	ctx       context.Context // of the Get; its end also ends the body
	key       string
	f         *os.File
	off, rest int64 // of the file: the unread part
	buf       []byte
	ready     []byte // the part of buf that the caller has not read
}

func (b *body) Read(p []byte) (int, error) {
	if err := ended(b.ctx, "get", b.key); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if len(b.ready) == 0 {
		if b.rest == 0 {
			return 0, io.EOF
		}
		if err := b.fill(len(p)); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	return n, nil
}

func (b *body) fill(want int) error {
	size := int(min(b.rest, int64(min(max(want, readAtLeast), readAtMost))))
	buf := b.buf
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	b.buf = nil // used by the call until it returns
	got, err := run(b.ctx, b.s, "get", b.key, nil, func(c *call) ([]byte, error) {
		n := 0
		err := c.do("read", b.f.Name(), func() (err error) {
			n, err = b.f.ReadAt(buf[:size], b.off)
			return err
		})
		if n > 0 || err == io.EOF && size > 0 {
			err = nil
		}
		if err != nil {
			err = failed("get", b.key, time.Time{}, err)
		}
		return buf[:n], err
	})
	if err != nil {
		return err
	}
	if len(got) == 0 { // the file has become shorter
		b.rest = 0
		return io.EOF
	}
	b.buf, b.ready = buf, got
	b.off, b.rest = b.off+int64(len(got)), b.rest-int64(len(got))
	return nil
}

// Close closes the file, which an abandoned call may still be reading.
func (b *body) Close() error {
	_, err := run(context.WithoutCancel(b.ctx), b.s, "get", b.key, nil, func(c *call) (struct{}, error) {
		err := c.always("close", b.f.Name(), b.f.Close)
		if err != nil {
			err = failed("get", b.key, time.Time{}, err)
		}
		return struct{}{}, err
	})
	return err
}
