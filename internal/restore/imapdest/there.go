package imapdest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/textproto"
	"strings"

	"github.com/emersion/go-imap/v2"

	"backupd/internal/restore"
)

// key is what a message is recognised by; date only where there is no Message-ID.
type key struct {
	id   string
	size int64
	date int64
}

// there counts the messages of a folder.
type there map[key]int

func keyOf(id string, size, date int64) key {
	if id != "" {
		date = 0
	}
	return key{id, size, date}
}

// take says whether a message is there, and counts it off.
func (t there) take(id string, size, date int64) bool {
	k := keyOf(id, size, date)
	if t[k] == 0 {
		return false
	}
	t[k]--
	return true
}

// look asks what is in a folder.
func (s *session) look(name string) (there, error) {
	data, err := s.c.Select(name, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return nil, err
	}
	have := there{}
	if data.NumMessages == 0 {
		return have, nil
	}
	section := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"Message-ID"}, Peek: true}
	cmd := s.c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{
		InternalDate: true, RFC822Size: true, BodySection: []*imap.FetchItemBodySection{section}})
	for m := cmd.Next(); m != nil; m = cmd.Next() {
		b, err := m.Collect()
		if err != nil {
			return nil, errors.Join(err, cmd.Close())
		}
		id := ""
		for _, s := range b.BodySection {
			if id, err = headerID(bytes.NewReader(s.Bytes)); err != nil {
				return nil, errors.Join(err, cmd.Close())
			}
		}
		have[keyOf(id, b.RFC822Size, b.InternalDate.Unix())]++
	}
	return have, cmd.Close()
}

// headerPart bounds where a Message-ID is looked for.
const headerPart = 256 << 10

// messageID reads it from the header of a message.
func messageID(b *restore.Body) (string, error) {
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return headerID(io.LimitReader(b, headerPart))
}

func headerID(r io.Reader) (string, error) {
	t := textproto.NewReader(bufio.NewReader(r))
	for {
		line, err := t.ReadContinuedLine()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && line == "" {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.TrimSpace(name), "Message-ID") {
			return strings.TrimSpace(value), nil
		}
	}
}
