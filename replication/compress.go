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

// compress is COMPRESS DEFLATE. After its answer both directions are raw deflate (RFC
// 1951), and each flush of the output ends in a sync flush (imap/sync_server.c,
// cmd_compress; lib/prot.c, prot_setcompress).
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
		// Compression under TLS leaks information about the content to an eavesdropper.
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

// startDeflate inserts the codec between the buffers and the layer below them.
func (c *conn) startDeflate() error {
	below, err := c.compressedInput()
	if err != nil {
		return err
	}
	// Replies are short text, so the fastest level is enough. (A higher level costs up to 1
	// MiB for each connection.)
	fw, err := flate.NewWriter(&c.transport, flate.BestSpeed)
	if err != nil {
		return fmt.Errorf("start deflate: %w", err)
	}
	c.compressed = true
	c.deflate = &deflater{w: fw}
	c.layer(flate.NewReader(below), c.deflate)
	return nil
}

// compressedInput returns the reader of the client's compressed input. The old reader's
// buffered bytes are already compressed. The old reader itself cannot stay below, because
// it copies to the telemetry log, where compressed bytes do not belong.
func (c *conn) compressedInput() (*bufio.Reader, error) {
	early, err := c.in.Peek(c.in.Buffered())
	if err != nil {
		return nil, fmt.Errorf("start deflate: %w", err)
	}
	return bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), &c.transport), inputBuffer), nil
}

// deflater compresses the output. sync writes out all that was written so far.
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
