package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// maxFiles is the number of files that sync_client sends in one MESSAGE
// (imap/sync_support.c, update_mailbox_once).
const maxFiles = 1024

// Message is a message to upload.
type Message struct {
	Partition string
	GUID      cyrus.GUID // SHA-1 of the bytes that Open's reader yields
	Size      int64      // number of these bytes
	Open      func() (io.ReadCloser, error)
}

// Uploaded counts the results of ApplyMessages.
type Uploaded struct {
	Commands, Files int
	Bytes           int64 // of bodies
	Unreadable      []error
}

// ApplyMessages uploads messages in as many commands as needed and skips messages already
// uploaded in this unit of work. A message that cannot be opened is sent as NIL, as in
// sync_client (imap/dlist.c, printfile), and listed in Unreadable. A message that ends
// early breaks the connection, because its size was already sent.
func (c *Client) ApplyMessages(ctx context.Context, messages iter.Seq2[Message, error]) (Uploaded, error) {
	var up Uploaded
	next, stop := iter.Pull2(messages)
	defer stop()
	m, err, more := next()
	for more && err == nil {
		if _, done := c.staged[m.GUID]; done {
			m, err, more = next()
			continue
		}
		var sent []cyrus.GUID
		cmdErr := c.command(ctx, "APPLY MESSAGE", func(w *bufio.Writer) error {
			open := "APPLY MESSAGE ("
			for ; more && err == nil && len(sent) < maxFiles; m, err, more = next() {
				if _, done := c.staged[m.GUID]; done {
					continue
				}
				if _, err := w.WriteString(open); err != nil {
					return err
				}
				open = " "
				if err := up.file(w, m); err != nil {
					return err
				}
				c.staged[m.GUID] = struct{}{}
				sent = append(sent, m.GUID)
			}
			return w.WriteByte(')')
		}, nil)
		up.Commands++
		if cmdErr != nil {
			for _, g := range sent {
				delete(c.staged, g)
			}
			return up, cmdErr
		}
	}
	return up, err
}

// file writes one member of the list.
func (up *Uploaded) file(w *bufio.Writer, m Message) error {
	body, err := m.Open()
	if err != nil {
		up.Unreadable = append(up.Unreadable, fmt.Errorf("message %s: %w", m.GUID, err))
		_, err := w.WriteString("NIL")
		return err
	}
	head := dlist.AppendFileHead(nil, dlist.FileInfo{Partition: m.Partition, GUID: m.GUID.String(), Size: uint64(m.Size)}, true)
	_, err = w.Write(head)
	if err == nil {
		_, err = io.CopyN(w, body, m.Size)
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("message %s ends before its %d bytes: %w", m.GUID, m.Size, io.ErrUnexpectedEOF)
		}
	}
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	up.Files++
	up.Bytes += m.Size
	return err
}
