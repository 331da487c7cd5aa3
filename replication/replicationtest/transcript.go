package replicationtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Commands splits the client's side of a captured connection into commands, each with its
// line end. It omits the login, which cannot be repeated, and COMPRESS, because the input
// after it is inflated. It also omits a command that was cut off.
func Commands(said []byte) ([][]byte, error) {
	var commands [][]byte
	loggingIn := false
	for len(said) > 0 {
		verb := firstWord(said)
		switch {
		case verb == "AUTHENTICATE":
			loggingIn = true
			said = afterLine(said)
			continue
		case loggingIn && !isVerb(verb):
			said = afterLine(said)
			continue
		case verb == "COMPRESS":
			var err error
			if said, err = inflate(afterLine(said)); err != nil {
				return nil, err
			}
			continue
		}
		loggingIn = false
		n, err := commandLength(said)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return commands, nil
		}
		if err != nil {
			return nil, fmt.Errorf("command %d: %w", len(commands)+1, err)
		}
		commands = append(commands, said[:n])
		said = said[n:]
	}
	return commands, nil
}

func isVerb(word string) bool {
	switch word {
	case "GET", "APPLY", "RESTART", "EXIT", "NOOP", "COMPRESS", "STARTTLS", "AUTHENTICATE":
		return true
	}
	return false
}

func firstWord(b []byte) string {
	if i := bytes.IndexAny(b, " \r\n"); i >= 0 {
		b = b[:i]
	}
	return strings.ToUpper(string(b))
}

func afterLine(b []byte) []byte {
	_, rest, _ := bytes.Cut(b, []byte("\n"))
	return rest
}

// inflate decompresses a captured deflate stream, which has no end.
func inflate(b []byte) ([]byte, error) {
	out, err := io.ReadAll(flate.NewReader(bytes.NewReader(b)))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("inflate: %w", err)
	}
	return out, nil
}

// commandLength returns the length of the first command in b.
func commandLength(b []byte) (int, error) {
	under := bytes.NewReader(b)
	r := bufio.NewReader(under)
	d := dlist.NewDecoder(r, dlist.Limits{})
	if _, err := d.Word(); err != nil {
		return 0, err
	}
	if err := d.SkipLine(); err != nil {
		return 0, err
	}
	return len(b) - under.Len() - r.Buffered(), nil
}
