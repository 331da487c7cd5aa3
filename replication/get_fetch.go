package replication

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getFetch is GET FETCH: one message, as a file literal. The partition is the client's name
// for it and is returned unchanged: the client asserts that it exists
// (replication-protocol.md 4.1).
func getFetch(v dlist.Value) (action, error) {
	f, err := cyrus.ParseFetch(v)
	return action{f.Name, func(ctx context.Context, c *conn, s Session) error {
		size, body, err := s.GetFetch(ctx, f)
		if err != nil {
			return err
		}
		err = c.sendFile(f, size, body)
		return errors.Join(err, body.Close())
	}}, err
}

// sendFile writes the file. Once the size has been sent, an error can only close the
// connection: if the body is short, or if its hash turns out to be wrong at the end, the
// connection is closed before the client has a complete file.
func (c *conn) sendFile(f cyrus.Fetch, size int64, body io.Reader) error {
	head := append(c.scratch[:0], "* MESSAGE "...)
	head = dlist.AppendFileHead(head, dlist.FileInfo{
		Partition: f.Partition, GUID: f.GUID.String(), Size: uint64(size),
	}, false)
	c.scratch = head
	if err := c.write(head); err != nil {
		return err
	}
	n, err := io.CopyN(c.out, body, size)
	if err == nil {
		err = atEnd(body)
	}
	if err != nil {
		return fmt.Errorf("send %s, %d of %d bytes: %w: %w", f.GUID, n, size, cyrus.ErrClose, err)
	}
	return c.reply("")
}

// atEnd reads to the end of a body, where its hash is checked.
func atEnd(body io.Reader) error {
	var more [1]byte
	_, err := io.ReadFull(body, more[:])
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("body is longer than its size")
	}
	return err
}
