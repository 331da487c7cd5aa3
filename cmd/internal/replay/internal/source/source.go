// Package source reads mail from a Maildir, an mbox or a directory of .eml files, or generates
// it. It provides messages with their GUIDs. Messages are sorted by name, so a second run has
// the same order.
package source

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Folder is the messages of one mailbox.
type Folder struct {
	Path     []string // below the top, in modified UTF-7; empty = the top itself
	Messages []Message
	// Open opens the body of Messages[i]: Size bytes.
	Open func(i int) (io.ReadCloser, error)
}

// Message has the metadata of a message.
type Message struct {
	GUID  cyrus.GUID
	Size  uint32   // bytes on the wire
	Date  int64    // INTERNALDATE
	Flags []string // as Cyrus names them
}

// Read reads a source of files: a Maildir (a directory with cur or new), an mbox
// (a file) or a directory of .eml files. It reads all messages once, for the GUIDs.
// Line ends become CR LF unless verbatim is set.
func Read(path string, verbatim bool) ([]Folder, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var folders []Folder
	switch {
	case !st.IsDir():
		folders, err = readMbox(path, verbatim)
	case isMaildir(path):
		folders, err = readMaildir(path, verbatim)
	default:
		folders, err = readEML(path, verbatim)
	}
	if err != nil {
		return nil, err
	}
	if len(folders) == 0 {
		return nil, fmt.Errorf("%s: no messages found", path)
	}
	return folders, nil
}

// errTooLarge reports a message whose size Cyrus cannot express.
var errTooLarge = errors.New("message of 4 GiB or more")

// measure reads a body for its GUID and size.
func measure(open func() (io.ReadCloser, error)) (m Message, err error) {
	body, err := open()
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	h := sha1.New()
	n, err := io.Copy(h, body)
	if err != nil {
		return m, err
	}
	if n >= 1<<32 {
		return m, errTooLarge
	}
	h.Sum(m.GUID[:0])
	m.Size = uint32(n)
	return m, nil
}

// openFile opens a message file.
func openFile(path string, verbatim bool) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil || verbatim {
		return f, err
	}
	return &body{Reader: newWireReader(f), Closer: f}, nil
}

type body struct {
	io.Reader
	io.Closer
}

// fileFolder makes a folder of message files.
func fileFolder(path []string, files []string, verbatim bool, describe func(file string) (date int64, flags []string, err error)) (Folder, error) {
	f := Folder{Path: path, Open: func(i int) (io.ReadCloser, error) { return openFile(files[i], verbatim) }}
	for i, file := range files {
		m, err := measure(func() (io.ReadCloser, error) { return f.Open(i) })
		if err != nil {
			return f, fmt.Errorf("%s: %w", file, err)
		}
		if m.Date, m.Flags, err = describe(file); err != nil {
			return f, err
		}
		f.Messages = append(f.Messages, m)
	}
	return f, nil
}

// modTime returns the date of a file, for messages without another date.
func modTime(path string) (int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return max(st.ModTime().Unix(), 0), nil
}

// below returns the components of dir under top.
func below(top, dir string) []string {
	rel, err := filepath.Rel(top, dir)
	if err != nil || rel == "." {
		return nil
	}
	return strings.Split(rel, string(filepath.Separator))
}
