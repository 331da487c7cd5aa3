package files

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/mboxrd"
	"github.com/cyrusbackup/backupd/internal/restore"
)

const mboxSuffix = ".mbox"

// mboxes writes mailboxes as mboxrd: a single file, or a directory of files for several
// mailboxes. Line ends are LF. Flags become the header fields Status, X-Status and X-Keywords,
// which mutt, pine and Dovecot read.
type mboxes struct {
	opt     *Options
	rep     *restore.Report
	base    *base    // a directory; nil = one file
	folders *origins // of base
	file    string   // the one file
	dir     *os.Root // directory of the mailbox being written
	cur     *partial
	w       *bufio.Writer
	words   []string // of the mailbox being written
	quoter  mboxrd.Quoter
	sums    mboxSums
}

// mboxSums counts the messages of a mailbox: all, and the part that the existing file has.
type mboxSums struct {
	old                      int64 // size of the existing file
	messages, there          int
	bytes, thereBytes, wrote int64
	odd                      int // messages with keywords that no header field can hold
}

func newMboxes(o *Options, rep *restore.Report, many bool) (sink, error) {
	b := &mboxes{opt: o, rep: rep}
	if !many {
		b.file = o.Path
		if info, err := os.Stat(o.Path); err == nil && info.IsDir() {
			return nil, fmt.Errorf("%s is a directory; name a file", o.Path)
		}
		return b, os.MkdirAll(filepath.Dir(o.Path), dirMode)
	}
	var err error
	if b.base, err = openBase(o.Path); err != nil {
		return nil, err
	}
	if b.folders, err = openOrigins(b.base.Root); err != nil {
		return nil, errors.Join(err, b.base.close())
	}
	return b, nil
}

// place opens the directory for a mailbox's file.
func (b *mboxes) place(m *mailbox) (to string, err error) {
	if b.base == nil {
		b.dir, err = os.OpenRoot(filepath.Dir(b.file))
		return filepath.Base(b.file), err
	}
	last := len(m.path) - 1
	b.dir, err = descend(b.base.Root, m.path[:last], true)
	return m.path[last] + mboxSuffix, err
}

func (b *mboxes) folder(m *mailbox) (map[cyrus.GUID]int, error) {
	b.sums = mboxSums{}
	to, err := b.place(m)
	if err != nil {
		return nil, err
	}
	if err := sweep(b.dir, ".", to); err != nil {
		return nil, err
	}
	if info, err := b.dir.Lstat(to); err == nil {
		if !info.Mode().IsRegular() {
			return nil, inTheWay(to, info)
		}
		b.sums.old = info.Size()
	}
	if b.folders != nil {
		if err := b.folders.add(m.origin); err != nil {
			return nil, err
		}
	}
	if b.words, err = m.words(); err != nil {
		return nil, err
	}
	if b.cur, err = newPartial(b.dir, ".", to); err != nil {
		return nil, err
	}
	b.w = bufio.NewWriterSize(b.cur, 256<<10)
	return nil, nil
}

func (b *mboxes) messages(batch []*delivery, done func(*delivery)) error {
	return oneByOne(batch, func(m *delivery) error { return b.message(m.Message, m.body, m.body.Size) }, done)
}

func (b *mboxes) message(m *restore.Message, body io.Reader, size int64) error {
	n := &counted{w: b.w}
	plain, odd := keywords(m.Flags)
	// Dovecot reads a date without a zone as local time.
	fmt.Fprintf(n, "From MAILER-DAEMON %s +0000\n", time.Unix(m.InternalDate, 0).UTC().Format(time.ANSIC))
	fmt.Fprintf(n, "Status: %sO\n", letters(m.Flags, [2]string{`\Seen`, "R"}))
	if x := letters(m.Flags, [2]string{`\Answered`, "A"}, [2]string{`\Flagged`, "F"}, [2]string{`\Draft`, "T"}, [2]string{`\Deleted`, "D"}); x != "" {
		fmt.Fprintf(n, "X-Status: %s\n", x)
	}
	if len(plain) > 0 {
		fmt.Fprintf(n, "X-Keywords: %s\n", strings.Join(plain, " "))
	}
	if b.sums.messages == 0 && len(b.words) > 0 {
		// Dovecot knows only the keywords that the first message lists (mbox-sync-parse.c), after
		// a uidvalidity and Dovecot's last uid in ten digits.
		fmt.Fprintf(n, "X-IMAPbase: 1 %010d %s\n", 0, strings.Join(b.words, " "))
	}
	if err := b.quoter.Quote(n, body); err != nil {
		return err
	}
	s := &b.sums
	s.messages, s.bytes, s.wrote = s.messages+1, s.bytes+size, s.wrote+n.n
	if s.wrote <= s.old {
		s.there, s.thereBytes = s.messages, s.bytes
	}
	if len(odd) > 0 {
		s.odd++
	}
	return nil
}

// endFolder renames the file to its final name. Only then it is known which messages existed.
func (b *mboxes) endFolder() error {
	err := b.w.Flush()
	if err == nil {
		err = b.cur.Sync()
	}
	if err != nil {
		return err
	}
	p, dir := b.cur, b.dir
	to := path.Base(p.to)
	b.cur, b.dir = nil, nil
	_, err = p.commit()
	if err != nil {
		b.rep.Recount(b.sums.messages, b.sums.bytes, false)
		return errors.Join(err, dir.Close())
	}
	b.rep.Recount(b.sums.there, b.sums.thereBytes, true)
	if n := b.sums.odd; n > 0 {
		b.reportOdd(to, n)
	}
	return errors.Join(syncDir(dir), dir.Close())
}

func (b *mboxes) reportOdd(to string, n int) {
	err := fmt.Errorf("%s: %s with keywords that no header field can hold; these are left out (with --lossy this is not a problem)", to, english.Plural(n, "message", ""))
	if b.opt.Lossy {
		b.rep.Say("%v", err)
		return
	}
	b.rep.Fail(err)
}

func (b *mboxes) drop() {
	if b.cur != nil {
		b.cur.abandon()
		b.rep.Recount(b.sums.messages, b.sums.bytes, false)
	}
	if b.dir != nil {
		_ = b.dir.Close()
	}
	b.cur, b.dir = nil, nil
}

func (b *mboxes) account(a *restore.Account) []error {
	if b.base == nil {
		return nil
	}
	return putScripts(b.base.Root, a)
}

func (b *mboxes) finish() error {
	if b.base == nil {
		return nil
	}
	return errors.Join(syncAll(b.base.lock), b.folders.close(), b.base.close())
}

func (b *mboxes) abandon() {
	b.drop()
	if b.base != nil {
		_ = b.folders.close()
		_ = b.base.close()
	}
}

// counted counts the bytes written.
type counted struct {
	w *bufio.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
