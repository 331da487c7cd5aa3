// Package cdc splits a large message at content-defined places (FastCDC), so that an
// attachment in two messages gives the same chunks, except at its ends. The sizes and the
// algorithm belong to the format: other cuts would be valid, but stored chunks would no
// longer be found.
package cdc

import (
	"fmt"
	"io"
	"sync"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // registers the algorithm with chunkers
)

// Name is the method's name in repositories.
const Name = "fastcdc-1"

// The sizes of chunks, in bytes. Only the last chunk of a message may be smaller than
// MinSize; most are close to NormalSize.
const (
	MinSize    = 256 << 10
	NormalSize = 512 << 10
	MaxSize    = 1 << 20
)

// algorithm is a frozen variant of the library: its plain "fastcdc" ignores NormalSize.
const algorithm = "fastcdc-v1.0.0"

var pool sync.Pool // of *chunkers.Chunker, each with its buffer

// Cut reads r to its end and calls fn with each chunk. Together the chunks are all of r; an
// empty r has none. A chunk is valid until fn returns. Cut holds MaxSize bytes in memory.
// An error of r or fn ends Cut and is returned unchanged.
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
		chunk, err := c.Next() // io.EOF comes with a short last chunk, or alone
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
