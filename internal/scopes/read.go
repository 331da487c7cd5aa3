package scopes

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

const (
	// sharedWord begins the patterns of shared mailboxes, as in the tools' -u %SHARED.
	sharedWord = "%SHARED"
	// maxLine bounds a line, in bytes.
	maxLine = 1 << 20
)

// Load reads a file. form is how the administrator writes the names of mailboxes, and canonical returns a
// login as the server compares it. An error names the file and the line.
func Load(path string, form cyrus.AdminForm, canonical func(login string) (string, error)) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("backup_scopes: %w", err)
	}
	defer f.Close()
	return Read(f, path, form, canonical)
}

// Read reads the lines of a file with this name.
func Read(r io.Reader, path string, form cyrus.AdminForm, canonical func(login string) (string, error)) (*Table, error) {
	t := &Table{form: form, canonical: canonical, logins: map[string]*Scope{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		if err := t.line(lines.Text()); err != nil {
			return nil, fmt.Errorf("backup_scopes: %s:%d: %w", path, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("backup_scopes: %s: after line %d: %w", path, n, err)
	}
	return t, nil
}

func (t *Table) line(text string) error {
	words := strings.Fields(text)
	for i, w := range words {
		if strings.HasPrefix(w, "#") { // a name may contain one
			words = words[:i]
			break
		}
	}
	if len(words) == 0 {
		return nil
	}
	login, err := t.login(words[0])
	if err != nil {
		return err
	}
	if len(words) == 1 {
		return fmt.Errorf("login %s has no users: add user names, *, or %s", login, sharedWord)
	}
	s := &Scope{form: t.form}
	for _, w := range words[1:] {
		if err := s.add(w); err != nil {
			return err
		}
	}
	t.logins[login] = s
	return nil
}

// login returns the canonical form of the first word of a line, which no other line has.
func (t *Table) login(word string) (login string, err error) {
	if login = word; word != Unix {
		if login, err = t.canonical(word); err != nil {
			return "", fmt.Errorf("not a login: %w", err)
		}
	}
	if t.logins[login] != nil {
		return "", fmt.Errorf("login %s has a line already", login)
	}
	return login, nil
}

// add adds one pattern.
func (s *Scope) add(word string) error {
	name, below := word, false
	if strings.HasPrefix(word, "%") {
		var kind string
		kind, name, below = strings.Cut(word, "/")
		if kind != sharedWord || below && name == "" {
			return fmt.Errorf("%q is not a user: shared mailboxes are %s or %s/NAME", word, sharedWord, sharedWord)
		}
		if !below {
			s.server = true
			return nil
		}
	}
	if below {
		s.shared.add(name)
	} else {
		s.users.add(name)
	}
	return nil
}
