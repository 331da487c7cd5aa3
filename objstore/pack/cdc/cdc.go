// Package cdc cuts a large message where its content says so (FastCDC), so that an
// attachment which comes in another message too gives the same chunks, except at its
// ends. The sizes and the algorithm belong to the format: other cuts would not be
// wrong, but nothing would be found again.
package cdc

import (
	"fmt"
	"io"
	"sync"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // makes the algorithm known to chunkers
)

// Name is how repositories record the way their messages were cut.
const Name = "fastcdc-1"

// The sizes of chunks, in bytes. Only the last one of a message may be smaller than
// MinSize; most are near NormalSize.
const (
	MinSize    = 256 << 10
	NormalSize = 512 << 10
	MaxSize    = 1 << 20
)

// algorithm is a frozen variant of the library: its plain "fastcdc" ignores NormalSize.
const algorithm = "fastcdc-v1.0.0"

var pool sync.Pool // of *chunkers.Chunker, each with its buffer

// Cut reads r to its end and calls fn with one chunk after another; together they are
// all of r, and an empty r has none. A chunk is valid until fn returns. Cut holds
// MaxSize bytes. An error of r or fn ends it and is returned as it is.
func Cut(r io.Reader, fn func(chunk []byte) error) error {
	c, ok := pool.Get().(*chunkers.Chunker)
	if !ok {
		var err error
		if c, err = newChunker(); err != nil {
			return err
		}
	}
	c.Reset(r)
	defer func() {
		c.Reset(nil)
		pool.Put(c)
	}()
	for {
		chunk, err := c.Next() // io.EOF comes with a last chunk that is short, or alone
		if err != nil && err != io.EOF {
			return err
		}
		if len(chunk) > 0 {
			if ferr := fn(chunk); ferr != nil {
				return ferr
			}
		}
		if err != nil {
			return nil
		}
	}
}

func newChunker() (*chunkers.Chunker, error) {
	o := &chunkers.ChunkerOpts{MinSize: MinSize, NormalSize: NormalSize, MaxSize: MaxSize}
	c, err := chunkers.NewChunkerBuffer(algorithm, nil, o, make([]byte, MaxSize))
	if err != nil {
		return nil, fmt.Errorf("chunker %s: %w", algorithm, err)
	}
	return c, nil
}
