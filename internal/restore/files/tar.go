package files

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
	"github.com/cyrusbackup/backupd/internal/restore/jsonl"
)

// archive is a tree in a tar file, compressed if its name ends in .zst.
type archive struct {
	rep     *restore.Report
	in      *os.Root // directory of the file
	file    *partial
	zstd    *zstd.Encoder
	tar     *tar.Writer
	dir     string
	taken   map[string]bool // names of messages in dir; nil = all uids differ
	index   spool
	origins bytes.Buffer
	n       int // messages
	bytes   int64
}

func newTar(name string, rep *restore.Report) (sink, error) {
	dir, to := filepath.Split(name)
	if dir == "" {
		dir = "."
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, err
	}
	in, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	a := &archive{rep: rep, in: in}
	if err := a.begin(to); err != nil {
		a.abandon()
		return nil, err
	}
	return a, nil
}

func (a *archive) begin(to string) (err error) {
	if info, err := a.in.Lstat(to); err == nil && !info.Mode().IsRegular() {
		return inTheWay(to, info)
	}
	if err := sweep(a.in, ".", to); err != nil {
		return err
	}
	if a.file, err = newPartial(a.in, ".", to); err != nil {
		return err
	}
	var w io.Writer = a.file
	if strings.HasSuffix(to, ".zst") {
		// One worker, so that the same restore writes the same bytes.
		if a.zstd, err = zstd.NewWriter(a.file, zstd.WithEncoderConcurrency(1)); err != nil {
			return err
		}
		w = a.zstd
	}
	a.tar = tar.NewWriter(w)
	return nil
}

func (a *archive) folder(m *mailbox) (map[cyrus.GUID]int, error) {
	a.dir, a.taken = strings.Join(m.path, "/")+"/", nil
	if m.merged {
		a.taken = map[string]bool{}
	}
	if err := a.index.reset(); err != nil {
		return nil, err
	}
	if err := jsonl.Write(&a.origins, m.origin); err != nil {
		return nil, err
	}
	return nil, stream(a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: a.dir, Mode: dirMode, Format: tar.FormatPAX}))
}

// stream wraps an error of the archive: nothing can be written after it.
func stream(err error) error {
	if err != nil {
		return &ending{err}
	}
	return nil
}

func (a *archive) messages(batch []*delivery, done func(*delivery)) error {
	return oneByOne(batch, func(m *delivery) error { return a.message(m.Message, m.body, m.body.Size) }, done)
}

func (a *archive) message(m *restore.Message, body io.Reader, size int64) error {
	e := entryOf(m, size)
	for n := 2; a.taken[e.File]; n++ {
		e.File = numbered(m, n)
	}
	if a.taken != nil {
		a.taken[e.File] = true
	}
	if err := a.header(a.dir+e.File, size, e.InternalDate); err != nil {
		return stream(err)
	}
	if _, err := io.Copy(a.tar, body); err != nil {
		return stream(err)
	}
	a.n, a.bytes = a.n+1, a.bytes+size
	return stream(jsonl.Write(&a.index, e))
}

func (a *archive) header(name string, size int64, when time.Time) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: fileMode, ModTime: when, Format: tar.FormatPAX})
}

func (a *archive) add(name string, b []byte) error {
	if err := a.header(name, int64(len(b)), time.Time{}); err != nil {
		return stream(err)
	}
	_, err := a.tar.Write(b)
	return stream(err)
}

func (a *archive) endFolder() error {
	err := a.header(a.dir+filename.Messages, a.index.size, time.Time{})
	if err == nil {
		err = a.index.copyTo(a.tar)
	}
	return stream(err)
}

func (a *archive) drop() {} // the messages written so far stay

func (a *archive) account(acc *restore.Account) []error {
	b, err := accountJSON(acc)
	if err == nil {
		err = a.add(filename.Account, b)
	}
	for _, s := range acc.Scripts {
		if err == nil {
			err = a.add(filename.Scripts+"/"+script(s.Filename), []byte(s.Content))
		}
	}
	return problems(err, nil)
}

func (a *archive) finish() error {
	err := a.add(filename.Folders, a.origins.Bytes())
	if err == nil {
		err = a.tar.Close()
	}
	if a.zstd != nil {
		err = errors.Join(err, a.zstd.Close())
	}
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		return err
	}
	p := a.file
	a.file = nil
	how, err := p.commit()
	if err != nil {
		return fmt.Errorf("%s: %w", a.in.Name(), err)
	}
	if how == same {
		a.rep.Recount(a.n, a.bytes, true)
	}
	return errors.Join(syncDir(a.in), a.in.Close(), a.index.reset())
}

func (a *archive) abandon() {
	if a.file != nil {
		a.file.abandon()
	}
	a.rep.Recount(a.n, a.bytes, false)
	_ = errors.Join(a.in.Close(), a.index.reset())
}
