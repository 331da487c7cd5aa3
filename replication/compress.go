package replication

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/flate"
)

// compress is COMPRESS DEFLATE: from the end of its answer on, both directions
// are raw deflate (RFC 1951), the output with a sync flush at each flush
// (imap/sync_server.c, cmd_compress; lib/prot.c, prot_setcompress).
func (c *conn) compress(_ context.Context, verb string) error {
	alg, ok, err := c.arg()
	if err != nil {
		return err
	}
	if !ok || alg == "" {
		return c.refuseLine("BAD Missing required argument to " + verb)
	}
	if done, err := c.endOfLine(verb); !done {
		return err
	}
	switch {
	case c.compressed:
		return c.reply("NO Compression already active: " + printable(alg))
	case !strings.EqualFold(alg, "DEFLATE"):
		return c.reply("NO Unknown compression algorithm: " + printable(alg))
	case c.tls:
		// Compression under TLS tells an eavesdropper something about the content.
		return c.reply("NO COMPRESS is not available over TLS")
	}
	if err := c.reply("OK DEFLATE active"); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.startDeflate()
}

// startDeflate puts the codec between the buffers and what was below them.
func (c *conn) startDeflate() error {
	below, err := c.compressedInput()
	if err != nil {
		return err
	}
	// Answers are small, and text: the fastest level does. (A higher one costs
	// up to 1 MiB for each connection.)
	fw, err := flate.NewWriter(&c.transport, flate.BestSpeed)
	if err != nil {
		return fmt.Errorf("start deflate: %w", err)
	}
	c.compressed = true
	c.deflate = &deflater{w: fw}
	c.layer(flate.NewReader(below), c.deflate)
	return nil
}

// compressedInput is what comes from the client from now on. What the old reader has
// buffered is compressed already; the reader itself does not stay below, for it copies
// to the telemetry log, where the compressed bytes have no place.
func (c *conn) compressedInput() (*bufio.Reader, error) {
	early, err := c.in.Peek(c.in.Buffered())
	if err != nil {
		return nil, fmt.Errorf("start deflate: %w", err)
	}
	return bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), &c.transport), inputBuffer), nil
}

// deflater compresses the output; what is written comes out with sync.
type deflater struct {
	w     *flate.Writer
	dirty bool // something was written since the last sync
}

func (d *deflater) Write(p []byte) (int, error) {
	d.dirty = true
	return d.w.Write(p)
}

func (d *deflater) sync() error {
	if !d.dirty {
		return nil
	}
	d.dirty = false
	return d.w.Flush()
}
