package objstore

import (
	"bytes"
	"errors"
	"io"
)

// Continued returns a reader of an object of which the beginning was read already. It calls rest,
// once, when the beginning was read to its end. Close closes what rest returned.
func Continued(beginning []byte, rest func() (io.ReadCloser, error)) io.ReadCloser {
	return &continued{Reader: bytes.NewReader(beginning), open: rest}
}

type continued struct {
	io.Reader
	open func() (io.ReadCloser, error) // nil after the request
	rest io.ReadCloser
}

func (c *continued) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if !errors.Is(err, io.EOF) || c.open == nil {
		return n, err
	}
	rest, err := c.open()
	if err != nil {
		return n, err
	}
	c.Reader, c.rest, c.open = rest, rest, nil
	if n == 0 {
		return c.Reader.Read(p)
	}
	return n, nil
}

func (c *continued) Close() error {
	if c.rest == nil {
		return nil
	}
	return c.rest.Close()
}
