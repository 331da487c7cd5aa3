package repository

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Known remembers facts about the backups of a partition from one run on this host to the next, so
// that an unchanged backup costs no request: its backup.json, and when the first commit of its log
// was made. A fact counts only while a list shows the same version of the object that it was read
// from. The file can be removed at any time, and ends at the first damage.
//
// It is a file of lines, in the order of the keys of the backups: the first 16 digits of the SHA-256
// of the JSON that follows, a space, and the JSON.
type Known struct {
	name  string
	old   *bufio.Scanner // nil: there is none
	file  *os.File       // of old
	next  knownBackup    // of old
	end   bool
	fresh *os.File // nil: nothing is written
	w     *bufio.Writer
}

// knownBackup is a line.
type knownBackup struct {
	Path    string        `json:"path"`
	Info    BackupInfo    `json:"info"`
	Version objectVersion `json:"version"` // of backup.json
	First   objectVersion `json:"first"`   // of the first object of the log
	Made    time.Time     `json:"made"`    // its first commit; zero = unknown
}

// objectVersion is a version of an object, as a list shows it.
type objectVersion struct {
	Key      string    `json:"key"`
	ETag     string    `json:"etag"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

func versionOf(i objstore.Info) objectVersion {
	return objectVersion{i.Key, i.ETag, i.Size, i.Modified.UTC()}
}

// is reports whether the list shows this version. Without an ETag, nothing is certain.
func (v objectVersion) is(i objstore.Info) bool {
	return v.ETag != "" && v.Key == i.Key && v.ETag == i.ETag && v.Size == i.Size && v.Modified.Equal(i.Modified)
}

const knownMagic = "backupd known 1"

// maxKnownLine is more than any line has: a path has at most 200 bytes, and a name is shorter than
// a line of a commit.
const maxKnownLine = 1 << 20

// OpenKnown opens the facts of an earlier run about a partition, in a file of this directory.
func OpenKnown(dir string, p Config) (*Known, error) {
	sum := sha256.Sum256([]byte(p.Location))
	k := &Known{name: filepath.Join(dir, hex.EncodeToString(sum[:16])+".known"), end: true}
	if f, err := os.Open(k.name); err == nil {
		k.file, k.old, k.end = f, bufio.NewScanner(f), false
		k.old.Buffer(nil, maxKnownLine)
		k.end = !k.old.Scan() || k.old.Text() != knownMagic
		k.advance()
	}
	f, err := os.CreateTemp(dir, filepath.Base(k.name)+".new-")
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	k.fresh, k.w = f, bufio.NewWriter(f)
	_, err = k.w.WriteString(knownMagic + "\n")
	return k, err
}

// Close discards the facts of this run, unless Keep was called.
func (k *Known) Close() error {
	var errs []error
	if k.file != nil {
		errs = append(errs, k.file.Close())
		k.file = nil
	}
	if k.fresh != nil {
		errs = append(errs, k.fresh.Close(), os.Remove(k.fresh.Name()))
		k.fresh = nil
	}
	return errors.Join(errs...)
}

// Keep remembers this run for the next one. The run has seen all backups of the partition.
func (k *Known) Keep() error {
	if k.fresh == nil {
		return nil
	}
	name := k.fresh.Name()
	err := errors.Join(k.w.Flush(), k.fresh.Close())
	k.fresh = nil
	if err == nil {
		err = os.Rename(name, k.name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// advance reads the next line.
func (k *Known) advance() {
	k.next = knownBackup{}
	if k.end = k.end || !k.old.Scan(); k.end {
		return
	}
	sum, text, ok := bytes.Cut(k.old.Bytes(), []byte(" "))
	k.end = !ok || string(sum) != checksum(text) || json.Unmarshal(text, &k.next) != nil
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// find returns the facts about a listed backup. Without a Path there are none. Calls are in the
// order of the keys.
func (k *Known) find(l *listing) *knownBackup {
	none := &knownBackup{}
	for !k.end && BackupPrefix(k.next.Path) < BackupPrefix(l.path) {
		k.advance()
	}
	if k.end || k.next.Path != l.path {
		return none
	}
	listed, ok := l.find(BackupInfoKey(l.path))
	if !ok || !k.next.Version.is(listed) {
		return none
	}
	b := k.next
	return &b
}

// note remembers a backup. Calls are in the order of the keys.
func (k *Known) note(f *Found) error {
	listed, ok := f.listed.find(BackupInfoKey(f.Path))
	if !ok {
		return nil
	}
	b := knownBackup{Path: f.Path, Info: f.Info, Version: versionOf(listed), First: f.known.First, Made: f.known.Made}
	text, err := json.Marshal(b)
	if err == nil {
		_, err = k.w.WriteString(checksum(text) + " " + string(text) + "\n")
	}
	return err
}

// find returns an object of the listing.
func (l *listing) find(key string) (objstore.Info, bool) {
	i, ok := (&listedStore{keys: l.keys}).find(key)
	if !ok {
		return objstore.Info{}, false
	}
	return l.keys[i], true
}

// FirstMade returns when the first commit of the log was made, if an earlier run on this host has
// read it from this version of the first object of the log.
func (f *Found) FirstMade(first objstore.Info) (at time.Time, ok bool) {
	if f.known == nil || f.known.Made.IsZero() || !f.known.First.is(first) {
		return at, false
	}
	return f.known.Made, true
}

// RememberMade remembers that for the next run.
func (f *Found) RememberMade(first objstore.Info, at time.Time) {
	if f.known != nil {
		f.known.First, f.known.Made = versionOf(first), at.UTC()
	}
}
