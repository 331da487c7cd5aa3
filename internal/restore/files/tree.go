package files

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"backupd/internal/restore"
	"backupd/replication/cyrus"
)

// tree is directories of messages as they are: Archive/2023/0000000007-GUID.eml, with
// the internal date as the file's time, and messages.ndjson for uids and flags.
type tree struct {
	root    string
	dir     string
	entries map[string]entry
}

func newTree(root string) (sink, error) { return &tree{root: root}, os.MkdirAll(root, dirMode) }

var emlName = regexp.MustCompile(`^\d{10}-([0-9a-f]{40})\.eml$`)

func (t *tree) folder(name mailbox) (map[cyrus.GUID]int, error) {
	if err := os.MkdirAll(t.at(name), dirMode); err != nil {
		return nil, err
	}
	return t.peek(name)
}

// at is the directory of a mailbox.
func (t *tree) at(name mailbox) string {
	return filepath.Join(t.root, filepath.FromSlash(directory(name.parts)))
}

// peek counts the messages that earlier runs have written.
func (t *tree) peek(name mailbox) (map[cyrus.GUID]int, error) {
	t.dir = t.at(name)
	if err := t.readIndex(); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(t.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	have := map[cyrus.GUID]int{}
	for _, f := range files {
		m := emlName.FindStringSubmatch(f.Name())
		if m == nil {
			continue
		}
		// One without a line in the index may be one that was cut: it is written again.
		e, listed := t.entries[f.Name()]
		info, err := f.Info()
		if err != nil {
			return nil, err
		}
		if !listed || e.Size != info.Size() {
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

func (t *tree) readIndex() error {
	t.entries = map[string]entry{}
	f, err := os.Open(filepath.Join(t.dir, index))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var e entry
		if json.Unmarshal(sc.Bytes(), &e) == nil { // a line that was cut counts for nothing
			t.entries[e.File] = e
		}
	}
	return sc.Err()
}

func (t *tree) message(m *restore.Message, body io.Reader, size int64) error {
	e := entryOf(m, size)
	t.entries[e.File] = e
	return write(filepath.Join(t.dir, e.File), body, e.InternalDate)
}

func (t *tree) endFolder() error {
	var list []entry
	for _, e := range t.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.File, b.File) })
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, e := range list {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	tmp := filepath.Join(t.dir, index+".new")
	if err := write(tmp, strings.NewReader(b.String()), time.Time{}); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(t.dir, index))
}

func (t *tree) account(a *restore.Account) error {
	b, err := accountJSON(a)
	if err == nil {
		err = writeNew(filepath.Join(t.root, "account.json"), b)
	}
	if err != nil {
		return err
	}
	return writeScripts(filepath.Join(t.root, "sieve"), a)
}

func (t *tree) finish() error { return syncAll(t.root) }
func (t *tree) abandon()      {}
