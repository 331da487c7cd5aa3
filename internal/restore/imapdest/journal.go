package imapdest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/emersion/go-imap/v2"
	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore/jsonl"
)

// A journal maps the messages of a folder at the server to messages of the backup, in lines of
// JSON: the folder first, then a line per message, written when the server has reported its uid,
// and where necessary another one before it is sent. The journal is only an aid. Entries for
// missing messages, or for messages of another size or date, are ignored, and messages that it
// does not know are compared by their bytes.
type journal struct {
	file   *os.File // nil = read-only
	known  map[imap.UID]*held
	failed error // the first write error; no writes after it
	// sent are messages that were about to be sent, with the flags to set afterwards.
	sent map[cyrus.GUID][]string
}

// folderLine is the first line of a journal.
type folderLine struct {
	Account     string `json:"account"`
	Folder      string `json:"folder"`
	UIDValidity uint32 `json:"uidvalidity"`
}

// note is a line about a message.
type note struct {
	UID  imap.UID `json:"uid,omitempty"` // zero = about to be sent
	Size int64    `json:"size,omitempty"`
	Date int64    `json:"date,omitempty"`
	// GUID is of the message in the backup, SHA1 of the bytes that the server returns.
	GUID string `json:"guid,omitempty"`
	SHA1 string `json:"sha1,omitempty"`
	// Lacks are flags that the message has in the backup but not at the server.
	Lacks []string `json:"lacks,omitempty"`
}

// journalPath returns the path of a folder's journal below a directory.
func journalPath(dir, account, folder string) string {
	sum := sha256.Sum256([]byte(folder))
	return filepath.Join(dir, "imap", url.PathEscape(account), hex.EncodeToString(sum[:16])+".jsonl")
}

// openJournal reads the journal of a folder. For writing, it is locked until it is closed.
// Without a dir the journal is empty.
func openJournal(dir string, of folderLine, write bool) (*journal, error) {
	j := &journal{known: map[imap.UID]*held{}, sent: map[cyrus.GUID][]string{}}
	if dir == "" {
		return j, nil
	}
	f, err := openForJournal(journalPath(dir, of.Account, of.Folder), write)
	if errors.Is(err, os.ErrNotExist) && !write {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the journal of %s: %w", of.Folder, err)
	}
	end, same, err := j.read(f, of)
	if err == nil && write {
		j.file = f
		return j, j.begin(of, end, same)
	}
	return j, errors.Join(err, f.Close())
}

func openForJournal(path string, write bool) (*os.File, error) {
	if !write {
		return os.Open(path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("another restore is writing to this folder; wait until it ends: %w", errFolder)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// read reads the journal. It ignores an incomplete last line and anything after a line that
// it does not understand. If the folder has another uidvalidity by now, it ignores everything.
func (j *journal) read(f *os.File, of folderLine) (end int64, same bool, err error) {
	end, _, err = jsonl.Read(f, func(line []byte) error {
		if same {
			return j.take(line)
		}
		var is folderLine
		if json.Unmarshal(line, &is) != nil || is != of {
			return errStop
		}
		same = true
		return nil
	})
	if errors.Is(err, errStop) || errors.Is(err, jsonl.ErrTooLong) {
		err = nil
	}
	return end, same, err
}

// errStop ends the reading of a journal; the lines so far are used.
var errStop = errors.New("not a line of this journal")

func (j *journal) take(line []byte) error {
	var n note
	if json.Unmarshal(line, &n) != nil {
		return errStop
	}
	h := &held{uid: n.UID, size: n.Size, date: n.Date, guid: parsed(n.GUID), sum: parsed(n.SHA1), lacks: n.Lacks}
	if n.UID == 0 {
		j.sent[h.guid] = n.Lacks
		return nil
	}
	delete(j.sent, h.guid)
	j.known[n.UID] = h
	return nil
}

// begin prepares the file for more lines.
func (j *journal) begin(of folderLine, end int64, same bool) error {
	err := j.file.Truncate(end)
	if err == nil {
		_, err = j.file.Seek(end, io.SeekStart)
	}
	if err == nil && !same {
		err = jsonl.Write(j.file, of)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the journal %s: %w", j.file.Name(), err), j.file.Close())
	}
	return nil
}

// add records a message of the folder.
func (j *journal) add(h *held) {
	n := note{UID: h.uid, Size: h.size, Date: h.date, Lacks: h.lacks}
	if h.guid != (cyrus.GUID{}) {
		n.GUID = h.guid.String()
	} else {
		n.SHA1 = h.sum.String()
	}
	j.write(n)
}

// about records that a message is about to be sent, without some of its flags.
func (j *journal) about(guid cyrus.GUID, lacks []string) {
	j.write(note{GUID: guid.String(), Lacks: lacks})
}

// write adds a line. A write error does not stop the restore: the next run compares the messages
// that the journal lacks.
func (j *journal) write(n note) {
	if j.file == nil || j.failed != nil {
		return
	}
	j.failed = jsonl.Write(j.file, n)
}

// close returns the error that left the journal incomplete, if any.
func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return errors.Join(j.failed, j.file.Sync(), j.file.Close())
}

// parsed returns zero for an invalid GUID.
func parsed(s string) cyrus.GUID {
	g, err := cyrus.ParseGUID(s)
	if err != nil {
		return cyrus.GUID{}
	}
	return g
}
