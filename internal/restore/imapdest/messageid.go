package imapdest

import (
	"bufio"
	"bytes"
	"errors"
	"hash/fnv"
	"io"
	"net/textproto"
	"strings"

	"github.com/cyrusbackup/backupd/internal/restore"
)

// headerPart is how many bytes are searched for a Message-ID.
const headerPart = 256 << 10

// idOf returns a short hash of a message's Message-ID; 0 = none.
func idOf(b *restore.Body) (uint64, error) {
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	head, err := io.ReadAll(io.LimitReader(b, headerPart))
	return messageID(head), err
}

func messageID(head []byte) uint64 {
	t := textproto.NewReader(bufio.NewReader(bytes.NewReader(head)))
	for {
		line, err := t.ReadContinuedLine()
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || err == nil && line == "" {
			return 0
		}
		name, value, _ := strings.Cut(line, ":")
		if value = strings.TrimSpace(value); value != "" && strings.EqualFold(strings.TrimSpace(name), "Message-ID") {
			h := fnv.New64a()
			h.Write([]byte(value)) //nolint:errcheck // never fails
			return h.Sum64()
		}
		if err != nil {
			return 0
		}
	}
}
