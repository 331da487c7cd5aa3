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
// from. Known also remembers which version of a lease this host has released: the lease can be taken
// without reading it (holder.takeFree). The file can be removed at any time, and ends at the first
// damage.
//
// It is a file of lines, in the order of the keys of the backups: the first 16 digits of the SHA-256
// of the JSON that follows, a space, and the JSON.
type Known struct {
	// Settle is called at the end of the partition, before the facts are kept: it releases the leases
	// that are still held. Nil: there are none.
	Settle func()

	name  string
	old   *bufio.Scanner // nil: there is none
	file  *os.File       // of old
	next  knownBackup    // of old
	end   bool
	fresh *os.File // nil: nothing is written
	w     *bufio.Writer
	queue []*knownBackup // to be written, in order
	last  string         // path of the last backup in the queue, ever
}

// knownBackup is a line.
type knownBackup struct {
	Path    string        `json:"path"`
	Info    BackupInfo    `json:"info"`
	Version objectVersion `json:"version"` // of backup.json
	First   objectVersion `json:"first"`   // of the first object of the log
	Made    time.Time     `json:"made"`    // its first commit; zero = unknown
	// Free is the ETag of the lease when it was released; "" = unknown.
	Free string `json:"free,omitempty"`
	// Held is set once a list has shown holds.json.
	Held bool `json:"held,omitempty"`

	busy bool // the lease is not released yet
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

// is reports whether the list shows this version. Without an ETag, nothing is certain. The answer to
// a GET has the time in whole seconds.
func (v objectVersion) is(i objstore.Info) bool {
	return v.shows(i) && v.Modified.Truncate(time.Second).Equal(i.Modified.Truncate(time.Second))
}

// shows is is, without the time: an ETag changes with the content.
func (v objectVersion) shows(i objstore.Info) bool {
	return v.ETag != "" && v.Key == i.Key && v.ETag == i.ETag && v.Size == i.Size
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
	err := errors.Join(k.write(0), k.w.Flush(), k.fresh.Close())
	k.fresh = nil
	if err == nil {
		err = os.Rename(name, k.name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// KeepPart remembers a run that has ended before the end of the partition. What an earlier run has
// remembered of the backups after the last one stays: a fact counts only for the version that it is about.
func (k *Known) KeepPart() error {
	if k.fresh == nil || k.last == "" {
		return nil
	}
	if err := k.write(0); err != nil {
		return err
	}
	if err := k.copyRest(); err != nil {
		return err
	}
	return k.Keep()
}

// copyRest copies the lines about backups after the last one of this run. They are read again, because
// a run looks up backups before it comes to them.
func (k *Known) copyRest() error {
	f, err := os.Open(k.name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	old := bufio.NewScanner(f)
	old.Buffer(nil, maxKnownLine)
	if !old.Scan() || old.Text() != knownMagic {
		return nil
	}
	for old.Scan() {
		b, ok := parseKnown(old.Bytes())
		if !ok {
			return nil
		}
		if BackupPrefix(b.Path) <= BackupPrefix(k.last) {
			continue
		}
		if _, err := k.w.Write(append(old.Bytes(), '\n')); err != nil {
			return err
		}
	}
	return nil
}

// advance reads the next line.
func (k *Known) advance() {
	k.next = knownBackup{}
	if k.end = k.end || !k.old.Scan(); k.end {
		return
	}
	var ok bool
	k.next, ok = parseKnown(k.old.Bytes())
	k.end = !ok
}

// parseKnown returns the backup of a line. ok is false if the line is damaged.
func parseKnown(line []byte) (b knownBackup, ok bool) {
	sum, text, ok := bytes.Cut(line, []byte(" "))
	ok = ok && string(sum) == checksum(text) && json.Unmarshal(text, &b) == nil
	return b, ok
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
	if !ok || !f.read.shows(listed) {
		return nil
	}
	b := f.known
	b.Path, b.Info, b.Version = f.Path, f.Info, versionOf(listed)
	b.Held = b.Held || f.ListedHolds() && !f.listed.rest
	k.queue, k.last = append(k.queue, b), f.Path
	return k.write(mostQueued)
}

// mostQueued limits the backups that wait for one whose lease is not released yet. Beyond that, the
// next run reads the lease.
const mostQueued = 4096

// write writes the backups whose facts are complete, and those of more than most that wait.
func (k *Known) write(most int) error {
	for len(k.queue) > 0 && (!k.queue[0].busy || len(k.queue) > most) {
		text, err := json.Marshal(k.queue[0])
		if err == nil {
			_, err = k.w.WriteString(checksum(text) + " " + string(text) + "\n")
		}
		if err != nil {
			return err
		}
		k.queue = k.queue[1:]
	}
	return nil
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

// FirstReplaced remembers that for an object that begins with the same commit, and has replaced
// the one with the key was.
func (f *Found) FirstReplaced(was string, by objstore.Info) {
	if f.known != nil && f.known.First.Key == was && by.Key != "" {
		f.known.First = versionOf(by)
	}
}

// freeLease returns the condition of a put that succeeds only if nobody has the lease; nil =
// unknown. No time counts here: either the lease does not exist, or it is the version that this
// host has released.
func (f *Found) freeLease() *objstore.PutOptions {
	if f.listed == nil || f.listed.rest {
		return nil
	}
	lease, there := f.listed.find(UpkeepKey(f.Path))
	switch {
	case !there:
		return &objstore.PutOptions{IfAbsent: true}
	case f.known != nil && f.known.Free != "" && f.known.Free == lease.ETag:
		return &objstore.PutOptions{IfMatch: lease.ETag}
	}
	return nil
}

// leased notes that the lease is in use.
func (f *Found) leased() {
	if f.known != nil {
		f.known.Free, f.known.busy = "", true
	}
}

// released remembers the ETag of a lease that was released, or "".
func (f *Found) released(etag string) {
	if f.known != nil {
		f.known.Free, f.known.busy = etag, false
	}
}
