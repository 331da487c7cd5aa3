// Package scopes reads the file with the backups that each login may touch
// (option backup_scopes).
//
// A line names a login and the backups of its scope:
//
//	# login   users and shared mailboxes
//	mail1     *@example.com %SHARED/*@example.com
//	mail2     anne bob lists-*
//	mail3     * %SHARED
//
// A pattern is a user name. An asterisk matches any characters but @; alone, it matches everything.
// %SHARED/PATTERN are the shared top-level mailboxes with this name and all mailboxes below them;
// %SHARED are all shared mailboxes and the annotations of the server itself. A login without a line
// has an empty scope. Connections through a UNIX socket, which need no login, have the line of %UNIX.
package scopes

import (
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Table has the scope of each login.
type Table struct {
	form      cyrus.AdminForm
	canonical func(login string) (string, error)
	logins    map[string]*Scope // by canonical name
}

// Scope is what one login may touch. The zero value is nothing.
type Scope struct {
	form   cyrus.AdminForm
	users  names
	shared names // in the administrator's form
	server bool  // %SHARED
}

// names are the names and the patterns of a line.
type names struct {
	exact    map[string]bool
	patterns []string // with an asterisk
}

// Unix is the login of connections through a UNIX socket. No other login can have this name, because
// user names have no percent sign at the beginning (replication/sasl).
const Unix = "%UNIX"

// Of returns the scope of a login, whose name is canonical.
func (t *Table) Of(login string) *Scope {
	if s := t.logins[login]; s != nil {
		return s
	}
	return &Scope{}
}

// Logins returns the canonical names of the logins with a line, in no order.
func (t *Table) Logins() []string {
	names := make([]string, 0, len(t.logins))
	for n := range t.logins {
		names = append(names, n)
	}
	return names
}

// All reports whether the scope is everything.
func (s *Scope) All() bool {
	return s.server && slices.Contains(s.users.patterns, anyUser)
}

// User reports whether the scope has the user. userid is in external form, without the default
// domain.
func (s *Scope) User(userid string) bool {
	return s.users.have(userid, s.form.DefaultDomain)
}

// Shared reports whether the scope has a shared mailbox. top is the internal name of its top level,
// [domain!]name.
func (s *Scope) Shared(top string) bool {
	return s.server || s.shared.have(s.form.External(top), s.form.DefaultDomain)
}

// Server reports whether the scope has the annotations of the server itself.
func (s *Scope) Server() bool { return s.server }

// anyUser matches every name, with or without a domain.
const anyUser = "*"

// have reports whether the names have this name, unchanged or with the default domain.
func (ns names) have(name, defaultDomain string) bool {
	full := name
	if defaultDomain != "" && !strings.Contains(name, "@") {
		full += "@" + defaultDomain
	}
	if ns.exact[name] || ns.exact[full] {
		return true
	}
	for _, p := range ns.patterns {
		if p == anyUser || matches(p, name) || matches(p, full) {
			return true
		}
	}
	return false
}

func (ns *names) add(name string) {
	if strings.Contains(name, "*") {
		ns.patterns = append(ns.patterns, name)
		return
	}
	if ns.exact == nil {
		ns.exact = map[string]bool{}
	}
	ns.exact[name] = true
}

// matches compares a name with a pattern. An asterisk matches any characters but @. It takes at
// most the product of the lengths, because only the last asterisk is ever tried again: the part before it
// has matched as early as possible.
func matches(pattern, name string) bool {
	p, n := 0, 0
	star, from := -1, 0 // the last asterisk, and the first character behind what it has matched
	for n < len(name) || p < len(pattern) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && n < len(name) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0 && from < len(name) && name[from] != '@':
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	return true
}
