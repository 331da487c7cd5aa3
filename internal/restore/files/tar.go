package files

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"backupd/internal/restore"
	"backupd/replication/cyrus"
)

// archive is a tree in a tar file, compressed when its name ends in .zst.
type archive struct {
	file  *partial
	zstd  *zstd.Encoder
	tar   *tar.Writer
	dir   string
	index bytes.Buffer
}

func newTar(name string) (sink, error) {
	p, err := newPartial(name)
	if err != nil {
		return nil, err
	}
	a := &archive{file: p}
	var w io.Writer = p
	if strings.HasSuffix(name, ".zst") {
		// One worker: the same restore makes the same bytes.
		if a.zstd, err = zstd.NewWriter(p, zstd.WithEncoderConcurrency(1)); err != nil {
			p.abandon()
			return nil, err
		}
		w = a.zstd
	}
	a.tar = tar.NewWriter(w)
	return a, nil
}

func (a *archive) folder(name mailbox) (map[cyrus.GUID]int, error) {
	a.dir = directory(name.parts) + "/"
	a.index.Reset()
	return nil, a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: a.dir, Mode: dirMode, Format: tar.FormatPAX})
}

func (a *archive) message(m *restore.Message, body io.Reader, size int64) error {
	e := entryOf(m, size)
	if err := a.header(a.dir+e.File, size, e.InternalDate); err != nil {
		return err
	}
	if _, err := io.Copy(a.tar, body); err != nil {
		return err
	}
	return json.NewEncoder(&a.index).Encode(e)
}

func (a *archive) header(name string, size int64, when time.Time) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: fileMode, ModTime: when, Format: tar.FormatPAX})
}

func (a *archive) add(name string, b []byte) error {
	if err := a.header(name, int64(len(b)), time.Time{}); err != nil {
		return err
	}
	_, err := a.tar.Write(b)
	return err
}

func (a *archive) endFolder() error { return a.add(a.dir+index, a.index.Bytes()) }

func (a *archive) account(acc *restore.Account) error {
	b, err := accountJSON(acc)
	if err == nil {
		err = a.add("account.json", b)
	}
	for _, s := range acc.Scripts {
		if err == nil {
			err = a.add("sieve/"+fileName(restore.ScriptName(s.Filename))+".sieve", []byte(s.Content))
		}
	}
	return err
}

func (a *archive) finish() error {
	err := a.tar.Close()
	if a.zstd != nil {
		err = errors.Join(err, a.zstd.Close())
	}
	if err != nil {
		return err
	}
	p := a.file
	a.file = nil
	return p.commit()
}

func (a *archive) abandon() {
	if a.file != nil {
		a.file.abandon()
	}
}
