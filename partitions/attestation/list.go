package attestation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Version is the version of a list.
const Version = 1

// maxLine is the length of the longest line of a list. A path has at most 200 bytes, a userid fewer than 1,024, and a text
// 500; the longest line is the header with all that was found and accepted.
const maxLine = 256 << 10

// Header is the first line of a list.
type Header struct {
	Version    int       `json:"version"`
	Number     uint64    `json:"number"` // from 1; no number is used twice
	Partition  string    `json:"partition"`
	Repository string    `json:"repository"` // id
	Time       time.Time `json:"time"`       // store time, before the first backup was looked at
	// Uncertain means that Time is that of the host, because the store's clock differs from it.
	Uncertain bool       `json:"uncertain,omitempty"`
	Host      string     `json:"host"`
	Clock     time.Time  `json:"clock"` // of the host
	Previous  *Reference `json:"previous,omitempty"`
	// Acceptance is set if a person has accepted findings of former lists with this list.
	Acceptance *Acceptance `json:"acceptance,omitempty"`
	// Findings are problems of the lists before that nobody has accepted: one was removed, for example.
	Findings []Finding `json:"findings,omitempty"`
	// Accepted are findings about lists that a person has accepted, and that may be there still.
	Accepted []Accepted `json:"accepted,omitempty"`
}

// Acceptance is that of the findings of all lists up to UpTo.
type Acceptance struct {
	UpTo uint64 `json:"up_to"`
	By   string `json:"by"` // for people
}

// Accepted is a finding about lists that a person has accepted.
type Accepted struct {
	ID    string `json:"id"`    // Finding.id
	Text  string `json:"text"`  // for people; the beginning
	Since uint64 `json:"since"` // list that has recorded it
	List  uint64 `json:"list"`  // list with the acceptance
}

// Entry is the line of a backup. Number and Hash are its newest commit.
type Entry struct {
	// Backup is the path below backups/, or that of a backup that was set aside, with set-aside/.
	Backup string `json:"backup"`
	ID     string `json:"id,omitempty"`   // in backup.json; absent = unknown
	Name   string `json:"name,omitempty"` // userid, or name of a shared mailbox
	Number uint64 `json:"number"`         // 0 = the backup has no commit, or none was ever read
	Hash   string `json:"hash,omitempty"`
	// Time is that of the commit, or the clock of its host if that is earlier: it was not made before.
	Time time.Time `json:"time,omitzero"`
	// Recent are the newest commits in former lists, if they were others and are younger than 48 hours.
	Recent []Head `json:"recent,omitempty"`
	First  uint64 `json:"first,omitempty"` // the first commit that the log has
	// Base is the checkpoint before the log, if retention has removed the beginning.
	Base *Base `json:"base,omitempty"`
	// Lost are commits between the first one and this one that the log has lost before.
	Lost []Span `json:"lost,omitempty"`
	// MovedTo is the repository where the log continues: its newest commit is a seal.
	MovedTo string `json:"moved_to,omitempty"`
	// Confirmed means that the log in that partition of this server was compared, and continues this one.
	Confirmed bool `json:"confirmed,omitempty"`
	// Objects is repository.Found.ListedVersion: while it is the same, the backup need not be read again.
	Objects string `json:"objects,omitempty"`
	// New means that the list before does not have the backup; Shortened that commits were removed since.
	New       bool `json:"new,omitempty"`
	Shortened bool `json:"shortened,omitempty"`
	// Unreadable is why the newest commit could not be read. The other values are then those of the list before.
	Unreadable string `json:"unreadable,omitempty"`
	// Gone is why the backup is there no more: Erased, Aside or Removed. The values are those of the list before. The line
	// stays in the next lists as long as it has Findings.
	Gone string `json:"gone,omitempty"`
	// Findings are changes since former lists that nothing explains, and that nobody has accepted. While there are any, the
	// values above are those before them, and Now is what the backup was when this list was made; nil = it was gone, or
	// could not be read.
	Findings []Finding `json:"findings,omitempty"`
	Now      *State    `json:"now,omitempty"`
}

// State is what an Entry names of a log.
type State struct {
	ID      string    `json:"id,omitempty"`
	Number  uint64    `json:"number"`
	Hash    string    `json:"hash,omitempty"`
	Time    time.Time `json:"time,omitzero"`
	First   uint64    `json:"first,omitempty"`
	Base    *Base     `json:"base,omitempty"`
	Lost    []Span    `json:"lost,omitempty"`
	MovedTo string    `json:"moved_to,omitempty"`
}

func (e *Entry) state() *State {
	return &State{e.ID, e.Number, e.Hash, e.Time, e.First, e.Base, e.Lost, e.MovedTo}
}

// with is an entry with another state, without the records about it.
func (e *Entry) with(s *State) *Entry {
	return &Entry{Backup: e.Backup, Name: e.Name, ID: s.ID, Number: s.Number, Hash: s.Hash, Time: s.Time, First: s.First, Base: s.Base, Lost: s.Lost, MovedTo: s.MovedTo}
}

// Head is the newest commit of a log at the time of a list.
type Head struct {
	Number uint64    `json:"number"`
	Time   time.Time `json:"time"` // as Entry.Time
}

// Base is the state before the beginning of a log.
type Base struct {
	Number uint64 `json:"number"`         // of the checkpoint, and of its last commit
	Hash   string `json:"hash"`           // SHA-256 of state.ndjson
	ETag   string `json:"etag,omitempty"` // of the checkpoint; while it is the same, so is the hash
}

// Why a backup is gone.
const (
	Erased  = "erased"
	Aside   = "set-aside"
	Removed = "removed" // nothing explains it
)

// Totals is the last line of a list. Without it, the list is incomplete.
type Totals struct {
	Backups    int `json:"backups"` // without the lines with Gone
	Gone       int `json:"gone"`
	Unreadable int `json:"unreadable"`
	Findings   int `json:"findings"`
}

func (t *Totals) add(e *Entry) {
	if e.Gone == "" {
		t.Backups++
	} else {
		t.Gone++
	}
	if e.Unreadable != "" {
		t.Unreadable++
	}
	t.Findings += len(e.Findings)
}

// order is what the entries of a list are sorted by: the order of the keys of the backups.
func order(backup string) string {
	if isAside(backup) {
		return backup + "/"
	}
	return repository.BackupPrefix(backup)
}

// isAside reports whether an entry is about a backup that was set aside.
func isAside(backup string) bool { return strings.HasPrefix(backup, repository.AsidePrefix) }

func (s *State) sound() bool {
	return (s.Hash == "" || isHash(s.Hash)) && (s.Number > 0 || s.Hash == "") && s.First <= s.Number && (s.Base == nil || isHash(s.Base.Hash))
}

// endLine is the last line.
type endLine struct {
	End *Totals `json:"end"`
}

func marshalLine(v any) ([]byte, error) {
	b, err := history.MarshalState(v)
	if err == nil && len(b) >= maxLine {
		err = fmt.Errorf("a line of %d bytes is too long for a list", len(b))
	}
	return append(b, '\n'), err
}

// checkVersion refuses the first line of a list of another version before its other keys are parsed.
func checkVersion(line []byte) error {
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return fmt.Errorf("%w: %w", history.ErrCorrupt, err)
	}
	if v.Version != Version {
		return fmt.Errorf("version %d, this program supports version %d: use a newer version of this program: %w", v.Version, Version, repository.ErrVersion)
	}
	return nil
}

// parseLine fills v in. An unknown key is an error: a version has a fixed set of keys.
func parseLine(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", history.ErrCorrupt, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: more than one value in a line", history.ErrCorrupt)
	}
	return nil
}

func (h *Header) check() error {
	switch {
	case h.Version != Version, h.Number == 0, h.Number > maxNumber, h.Acceptance != nil && h.Acceptance.UpTo >= h.Number, h.Previous != nil && (!h.Previous.valid() || h.Previous.Number >= h.Number):
		return fmt.Errorf("%w: number %d", history.ErrCorrupt, h.Number)
	}
	return nil
}

func (e *Entry) check() error {
	sound := e.Backup != "" && !strings.HasSuffix(e.Backup, "/") && e.state().sound() && (e.Now == nil || e.Now.sound())
	switch e.Gone {
	case "", Erased, Aside, Removed:
	default:
		sound = false
	}
	if !sound {
		return fmt.Errorf("%w: the line of %q contradicts itself", history.ErrCorrupt, e.Backup)
	}
	return nil
}
