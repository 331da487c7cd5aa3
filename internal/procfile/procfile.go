// Package procfile registers this process with other Cyrus programs: cyr_info proc and others read
// one file per process to list, count or end sessions (imap/proc.c).
package procfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Session describes one connection.
type Session struct {
	Host string // "name [ip]", "[ip]" or "[unix socket]"
	User string // "" before login
}

// File is the file of this process, {proc_path}/<pid>. A process has a single line, however many
// connections it serves: a file per connection would need names that are not pids, which imap/proc.c
// reports as bogus, or pids without a process, which it would signal.
//
// The line has service, host, user, mailbox and command, separated by tabs. Host and user are set if
// all sessions have the same. The mailbox stays empty, because Cyrus sends SIGTERM to the process
// whose line names a mailbox or user that it removes (imap/proc.c, proc_killmbox and proc_killuser),
// and the mailboxes that are replicated here belong to other servers. The command is the number of
// sessions.
type File struct {
	path    string
	service string

	mu       sync.Mutex
	sessions map[string]Session
	closed   bool
}

// New creates dir if necessary (mode 0755, as in imap/proc.c) and the file, without a session. If it
// returns an error, the registry is unusable; the service can run without it.
func New(dir string, pid int, service string) (*File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f := &File{path: filepath.Join(dir, strconv.Itoa(pid)), service: service, sessions: map[string]Session{}}
	return f, f.write()
}

// Set adds or updates the session id.
func (f *File) Set(id string, s Session) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[id] = s
	return f.write()
}

// End removes the session id.
func (f *File) End(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, id)
	return f.write()
}

// Remove removes the file. Later calls of Set and End do nothing.
func (f *File) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// write replaces the file atomically, by way of <pid>.new, which readers skip.
func (f *File) write() error {
	if f.closed {
		return nil
	}
	tmp := f.path + ".new"
	if err := os.WriteFile(tmp, []byte(f.line()), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, f.path)
}

func (f *File) line() string {
	host := shared(f.sessions, func(s Session) string { return s.Host })
	user := shared(f.sessions, func(s Session) string { return s.User })
	n := len(f.sessions)
	command := fmt.Sprintf("%d sessions", n)
	switch n {
	case 0:
		command = "idle"
	case 1:
		command = "1 session"
	}
	return strings.Join([]string{column(f.service), column(host), column(user), "", command}, "\t") + "\n"
}

// shared returns the value that get returns for all sessions, or "" if they differ.
func shared(sessions map[string]Session, get func(Session) string) string {
	value, first := "", true
	for _, s := range sessions {
		v := get(s)
		if !first && v != value {
			return ""
		}
		value, first = v, false
	}
	return value
}

// column prevents names chosen by clients from adding columns and lines.
func column(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
