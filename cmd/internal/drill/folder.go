package drill

import (
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
	"github.com/cyrusbackup/backupd/internal/restore/jsonl"
)

// readFolders returns the path of each restored mailbox by its uniqueid.
func readFolders(root *os.Root) (map[string]string, error) {
	paths := map[string]string{}
	f, err := root.Open(filename.Folders)
	if errors.Is(err, os.ErrNotExist) {
		return paths, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, _, err = jsonl.Read(f, func(line []byte) error {
		var l struct{ Path, UniqueID string }
		err := json.Unmarshal(line, &l)
		paths[l.UniqueID] = l.Path
		return err
	})
	return paths, err
}

// line is a message in messages.ndjson.
type line struct {
	File         string             `json:"file"`
	UID          uint32             `json:"uid"`
	GUID         string             `json:"guid"`
	Size         int64              `json:"size"`
	InternalDate time.Time          `json:"internaldate"`
	Flags        []dlist.JSONString `json:"flags"`
}

// folder compares the files of a mailbox with its records, one after another.
func (d *directory) folder(ctx context.Context, root *os.Root, path string, f *restore.Folder) error {
	dir, err := root.OpenRoot(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	index, err := dir.Open(filename.Messages)
	if err != nil {
		return err
	}
	defer index.Close()
	before, missed := d.out.Problems, len(d.missing)
	crc, memory := cyrus.NewCRC(), new(cyrus.CRCMemory)
	rest := f.Messages // without a line so far
	_, _, err = jsonl.Read(index, func(b []byte) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		at, ok := slices.BinarySearchFunc(rest, l.UID, func(r restore.Ref, uid uint32) int { return cmp.Compare(r.UID, uid) })
		if !ok {
			d.problem("%s uid %d: was restored twice, or is not in the mailbox", f.Name, l.UID)
			return nil
		}
		d.lost(f, rest[:at])
		m, err := d.src.Message(rest[at])
		if err != nil {
			return err
		}
		rest = rest[at+1:]
		d.found++
		d.message(dir, f, m, &l, &crc, memory)
		return nil
	})
	if err != nil {
		return err
	}
	d.lost(f, rest)
	if d.out.Problems == before && len(d.missing) == missed {
		d.compareCRC(f, crc, "files")
	}
	return nil
}

// message compares a file with its record, and adds what the file and its line say to the CRC.
func (d *directory) message(dir *os.Root, f *restore.Folder, m *restore.Message, l *line, crc *cyrus.CRC, memory *cyrus.CRCMemory) {
	guid, size, date, err := readMessage(dir, l.File)
	if err != nil {
		d.problem("%s uid %d (message %s): %w", f.Name, m.UID, m.GUID, err)
		return
	}
	// The modseq, the time of the last change and annotations are not in the files.
	is := m.Record
	is.GUID, is.InternalDate, is.Flags = guid, l.InternalDate.Unix(), nil
	for _, flag := range l.Flags {
		is.Flags = append(is.Flags, string(flag))
	}
	crc.AddIn(memory, &is)
	var wrong []string
	for what, differs := range map[string]bool{
		"bytes": guid != m.GUID,
		"size":  size != int64(m.Size) || l.Size != size,
		"date":  is.InternalDate != m.InternalDate || date.Unix() != m.InternalDate,
		"flags": !slices.Equal(is.Flags, m.Flags),
	} {
		if differs {
			wrong = append(wrong, what)
		}
	}
	if len(wrong) == 0 {
		d.out.Messages++
		d.out.Bytes += size
		return
	}
	slices.Sort(wrong)
	d.problem("%s uid %d (message %s): the restored file %s has other %s", f.Name, m.UID, m.GUID, l.File, strings.Join(wrong, ", "))
}

// readMessage returns the SHA-1, the size and the time of a file.
func readMessage(dir *os.Root, name string) (guid cyrus.GUID, size int64, date time.Time, err error) {
	file, err := dir.Open(name)
	if err != nil {
		return guid, 0, date, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return guid, 0, date, err
	}
	sum := sha1.New()
	size, err = io.Copy(sum, file)
	return cyrus.GUID(sum.Sum(nil)), size, info.ModTime(), err
}
