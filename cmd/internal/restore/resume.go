package restore

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// resumeFile records the finished backups of a restore of many users. The first line has the
// options; each further line is a backup, and is durable before the next backup begins on the
// same connection. After an interruption the last line can be incomplete.
type resumeFile struct {
	f    *os.File        // nil = no file
	mu   sync.Mutex      // held while a line is added
	done map[string]bool // in earlier runs
}

// resumed is the first line. It prevents another restore from using the file. Its times were
// computed at the start of the first run, and all runs use them.
type resumed struct {
	Version int               `json:"restore_version"`
	To      string            `json:"to"`
	Users   *chosenUsers      `json:"users"`
	Asked   map[string]string `json:"asked"`
	Moment  time.Time         `json:"moment"`
	Since   time.Time         `json:"since,omitzero"`
	Until   time.Time         `json:"until,omitzero"`
}

// headBegins is the start of the first line.
const headBegins = `{"restore_version":`

// same reports whether both belong to the same restore.
func (r *resumed) same(other *resumed) bool {
	return r.Version == other.Version && r.To == other.To && r.Users != nil && *r.Users == *other.Users && maps.Equal(r.Asked, other.Asked)
}

// String is for people.
func (r *resumed) String() string {
	s := fmt.Sprintf("of %s to %s", r.Users, r.To)
	for _, option := range slices.Sorted(maps.Keys(r.Asked)) {
		s += ", " + option
		if text := r.Asked[option]; text != "yes" {
			s += " " + text
		}
	}
	return s
}

type resumedUser struct {
	Backup   string    `json:"backup"`
	Phase    string    `json:"phase,omitempty"`
	AsOf     time.Time `json:"as_of"`
	Messages int       `json:"messages"`
	Ended    time.Time `json:"ended"`
}

// openResumeFile reads the file, and sets the moment of the restore to that of the first run.
func openResumeFile(name string, o *options, now time.Time) (*resumeFile, error) {
	r := &resumeFile{done: map[string]bool{}}
	if o.moment.Time.IsZero() {
		o.moment.Time, o.ofNow = now, true
	}
	if name == "" {
		return r, nil
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, cli.Usagef("--resume: %v", err)
	}
	r.f = f
	if err := r.begin(o); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

func (r *resumeFile) begin(o *options) error {
	if err := unix.Flock(int(r.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("--resume %s: another restore is using it (%w)", r.f.Name(), err)
	}
	to := o.server
	if o.toFiles != "" {
		to = o.toFiles + ":" + to
	}
	head := &resumed{1, to, o.chosen, o.asked, o.moment.Time, o.selection.Since, o.selection.Until}
	in := bufio.NewReader(r.f)
	first, err := in.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return r.first(first, head)
	}
	if err != nil {
		return err
	}
	var was resumed
	if json.Unmarshal(first, &was) != nil || was.Version == 0 {
		return r.foreign()
	}
	if !was.same(head) {
		return cli.Usagef("--resume %s: the file belongs to another restore, %s; this is %s. Name another file, or give the same options", r.f.Name(), &was, head)
	}
	o.moment.Time, o.selection.Since, o.selection.Until = was.Moment, was.Since, was.Until
	return r.load(in, int64(len(first)))
}

// first writes the first line, into an empty file or over an incomplete first line.
func (r *resumeFile) first(there []byte, head *resumed) error {
	if n := min(len(there), len(headBegins)); string(there[:n]) != headBegins[:n] {
		return r.foreign()
	}
	line, err := json.Marshal(head)
	if err == nil {
		err = r.f.Truncate(0)
	}
	if err == nil {
		_, err = r.f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	return r.append(line)
}

func (r *resumeFile) foreign() error {
	return cli.Usagef("--resume %s: not a resume file; name another file", r.f.Name())
}

// load reads the finished backups, and removes an incomplete last line.
func (r *resumeFile) load(in *bufio.Reader, at int64) error {
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		var u resumedUser
		if err := json.Unmarshal(line, &u); err != nil {
			return fmt.Errorf("--resume %s: at byte %d: %w", r.f.Name(), at, err)
		}
		r.done[u.key()] = true
		at += int64(len(line))
	}
	if err := r.f.Truncate(at); err != nil {
		return err
	}
	_, err := r.f.Seek(at, io.SeekStart)
	return err
}

func (u *resumedUser) key() string { return u.Backup + "\x00" + u.Phase }

func (r *resumeFile) append(line []byte) error {
	if _, err := r.f.Write(append(line, '\n')); err != nil {
		return err
	}
	return r.f.Sync()
}

// has reports whether a backup is finished.
func (r *resumeFile) has(backup string, p phase) bool {
	u := resumedUser{Backup: backup, Phase: p.name}
	return r.done[u.key()] // of earlier runs; this run does not change the map
}

// note records a finished backup.
func (r *resumeFile) note(u userResult, p phase) error {
	if r.f == nil {
		return nil
	}
	line, err := json.Marshal(resumedUser{u.Backup, p.name, u.AsOf.UTC(), u.Added, time.Now().UTC()})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.append(line); err != nil {
		return fmt.Errorf("the restore succeeded, but --resume %s cannot be written: %w", r.f.Name(), err)
	}
	return nil
}

func (r *resumeFile) close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}
