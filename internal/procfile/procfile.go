// Package procfile tells the other Cyrus programs of this process: cyr_info proc, and
// whoever counts or ends sessions, read one file per process (imap/proc.c).
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

// Session is what is known of one connection.
type Session struct {
	Host string // "name [ip]", "[ip]" or "[unix socket]"
	User string // "" before login
}

// File is this process's file, {proc_path}/<pid>. One process has one line, however
// many connections it serves: a file per connection would need names that are no
// pids, which imap/proc.c calls bogus, or pids that are no processes, which it signals.
//
// The line is service, host, user, mailbox and command, separated by tabs. Host and
// user are given if all sessions share them. The mailbox stays empty: Cyrus sends
// SIGTERM to the process whose line names a mailbox or a user that it removes
// (imap/proc.c, proc_killmbox and proc_killuser), and the mailboxes that pass through
// here live on other servers. The command is the number of sessions.
type File struct {
	path    string
	service string

	mu       sync.Mutex
	sessions map[string]Session
	closed   bool
}

// New makes dir if it is missing (mode 0755, as imap/proc.c does) and the file, without
// a session. An error says that the registry is of no use; the service can do without.
func New(dir string, pid int, service string) (*File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f := &File{path: filepath.Join(dir, strconv.Itoa(pid)), service: service, sessions: map[string]Session{}}
	return f, f.write()
}

// Set adds the session id or replaces what is known of it.
func (f *File) Set(id string, s Session) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[id] = s
	return f.write()
}

// End takes the session id away.
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

// write replaces the file in one step, by way of <pid>.new, which readers skip.
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

// shared returns what get returns for all sessions alike, or "".
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

// column keeps a name that a client chose from adding columns and lines.
func column(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
