package files

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"backupd/internal/restore"
	"backupd/replication/cyrus"
)

// mboxes are mailboxes as mboxrd: one file, or, for several mailboxes, a directory of
// them. Line ends are LF there. Flags become the header fields Status, X-Status and
// X-Keywords, as mutt, pine and Dovecot read them.
type mboxes struct {
	root string
	many bool
	cur  *partial
	w    *bufio.Writer
}

func newMboxes(root string, many bool) (sink, error) {
	if many {
		return &mboxes{root: root, many: many}, os.MkdirAll(root, dirMode)
	}
	if info, err := os.Stat(root); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s: it is a directory; name a file", root)
	}
	return &mboxes{root: root}, nil
}

func (b *mboxes) folder(name mailbox) (map[cyrus.GUID]int, error) {
	to := b.root
	if b.many {
		to = filepath.Join(b.root, filepath.FromSlash(directory(name.parts))+".mbox")
	}
	var err error
	if b.cur, err = newPartial(to); err != nil {
		return nil, err
	}
	b.w = bufio.NewWriterSize(b.cur, 256<<10)
	return nil, nil
}

func (b *mboxes) message(m *restore.Message, body io.Reader, _ int64) error {
	fmt.Fprintf(b.w, "From MAILER-DAEMON %s\n", time.Unix(m.InternalDate, 0).UTC().Format(time.ANSIC))
	fmt.Fprintf(b.w, "Status: %sO\n", letters(m.Flags, [2]string{`\Seen`, "R"}))
	if x := letters(m.Flags, [2]string{`\Answered`, "A"}, [2]string{`\Flagged`, "F"}, [2]string{`\Draft`, "T"}, [2]string{`\Deleted`, "D"}); x != "" {
		fmt.Fprintf(b.w, "X-Status: %s\n", x)
	}
	if k := keywords(m.Flags); len(k) > 0 {
		fmt.Fprintf(b.w, "X-Keywords: %s\n", strings.Join(k, " "))
	}
	return b.quoted(body)
}

// quoted copies a message with mboxrd's quoting: >*From at the start of a line gets one
// more >, so that it can be undone.
func (b *mboxes) quoted(body io.Reader) error {
	r := bufio.NewReaderSize(body, 64<<10)
	begins, last := true, byte('\n')
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if len(line) > 0 {
			if begins && strings.HasPrefix(strings.TrimLeft(string(line), ">"), "From ") {
				_ = b.w.WriteByte('>') // bufio keeps the error
			}
			begins = line[len(line)-1] == '\n'
			if n := len(line); begins && n > 1 && line[n-2] == '\r' {
				_, _ = b.w.Write(line[:n-2])
				_ = b.w.WriteByte('\n')
			} else {
				_, _ = b.w.Write(line)
			}
			last = line[len(line)-1]
		}
		if errors.Is(err, io.EOF) {
			break
		}
	}
	if last != '\n' {
		_ = b.w.WriteByte('\n')
	}
	return b.w.WriteByte('\n')
}

func (b *mboxes) endFolder() error {
	if err := b.w.Flush(); err != nil {
		return err
	}
	p := b.cur
	b.cur = nil
	return p.commit()
}

func (b *mboxes) account(a *restore.Account) error {
	if !b.many {
		return nil
	}
	return writeScripts(filepath.Join(b.root, "sieve"), a)
}

func (b *mboxes) finish() error {
	if b.many {
		return syncAll(b.root)
	}
	return nil
}

func (b *mboxes) abandon() {
	if b.cur != nil {
		b.cur.abandon()
	}
}
