package files

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"regexp"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
)

// tree is a directory tree of unchanged messages: Archive/2023/0000000007-GUID.eml, with the
// internal date as the file's time, and messages.ndjson for uids and flags.
type tree struct {
	base    *base
	folders *origins
	dir     *os.Root // of the mailbox being written
	index   *lines
	listed  map[string]int64 // files in the index, with their sizes
	files   *newFiles
}

func newTree(path string) (sink, error) {
	b, err := openBase(path)
	if err != nil {
		return nil, err
	}
	t := &tree{base: b}
	if t.folders, err = openOrigins(b.Root); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return t, nil
}

var emlName = regexp.MustCompile(`^\d{10}-([0-9a-f]{40})(-\d+)?\.eml$`)

func (t *tree) folder(m *mailbox) (have map[cyrus.GUID]int, err error) {
	if t.dir, err = descend(t.base.Root, m.path, true); err != nil {
		return nil, err
	}
	if t.files, err = openNewFiles(t.dir, ".", "."); err != nil {
		return nil, err
	}
	if err := sweep(t.dir, ".", ""); err != nil {
		return nil, err
	}
	t.listed = map[string]int64{}
	if t.index, err = openLines(t.dir, filename.Messages, "file", t.see); err != nil {
		return nil, err
	}
	if err := errors.Join(t.index.create(), t.folders.add(m.origin)); err != nil {
		return nil, err
	}
	return t.held()
}

// peek returns the same as folder, and changes nothing.
func (t *tree) peek(dir *os.Root) (map[cyrus.GUID]int, error) {
	t.dir, t.listed = dir, map[string]int64{}
	if err := readLines(dir, filename.Messages, "file", t.see); err != nil {
		return nil, err
	}
	return t.held()
}

// see records a line of the index.
func (t *tree) see(line []byte) error {
	var e entry
	err := json.Unmarshal(line, &e)
	t.listed[e.File] = e.Size
	return err
}

// held counts the messages that earlier runs wrote. Files without a line in the index are
// foreign; those of another size were modified.
func (t *tree) held() (map[cyrus.GUID]int, error) {
	have := map[cyrus.GUID]int{}
	entries, err := list(t.dir, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		m := emlName.FindStringSubmatch(e.Name())
		size, listed := t.listed[e.Name()]
		if m == nil || !listed {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() != size {
			continue
		}
		g, err := cyrus.ParseGUID(m[1])
		if err != nil {
			return nil, err
		}
		have[g]++
	}
	return have, nil
}

// messages writes a batch. Its index lines come first, because a file without one is foreign.
func (t *tree) messages(batch []*delivery, done func(*delivery)) error {
	entries := make([]entry, len(batch))
	taken := map[string]bool{}
	for i, m := range batch {
		entries[i] = entryOf(m.Message, m.body.Size)
		if err := t.name(m.Message, &entries[i], taken); err != nil {
			return err
		}
		taken[entries[i].File] = true
	}
	if err := addLines(t.index, entries); err != nil {
		return err
	}
	return sideBySide(batch, func(i int) error {
		return t.files.write(entries[i].File, batch[i].body, entries[i].InternalDate)
	}, done)
}

// name finds a free name. Foreign files, and messages of another mailbox with the same
// destination, take names; so do earlier messages of the batch.
func (t *tree) name(m *restore.Message, e *entry, taken map[string]bool) error {
	for n := 2; ; n++ {
		if taken[e.File] {
			e.File = numbered(m, n)
			continue
		}
		info, err := t.dir.Lstat(e.File)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Mode().IsRegular() && info.Size() < t.listed[e.File] {
			return nil // a power cut truncated it
		}
		e.File = numbered(m, n)
	}
}

func (t *tree) endFolder() error {
	err := errors.Join(t.index.close(), t.files.close(), t.dir.Close())
	t.index, t.dir, t.files = nil, nil, nil
	return err
}

func (t *tree) drop() {
	_ = errors.Join(t.index.close(), t.files.close())
	if t.dir != nil {
		_ = t.dir.Close()
	}
	t.index, t.dir, t.files = nil, nil, nil
}

func (t *tree) account(a *restore.Account) []error {
	b, err := accountJSON(a)
	if err == nil {
		err = put(t.base.Root, filename.Account, string(b))
	}
	return problems(err, putScripts(t.base.Root, a))
}

func (t *tree) finish() error {
	return errors.Join(syncAll(t.base.lock), t.folders.close(), t.base.close())
}

func (t *tree) abandon() {
	t.drop()
	_ = t.folders.close()
	_ = t.base.close()
}
