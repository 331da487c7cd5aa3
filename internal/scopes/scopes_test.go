package scopes

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

var form = cyrus.AdminForm{UnixHierarchySep: true, DefaultDomain: "example.org", VirtDomains: true}

// canonical is an example of the rules of user names.
func canonical(login string) (string, error) {
	if strings.HasSuffix(login, "!") {
		return "", errors.New("invalid character")
	}
	return strings.ToLower(login), nil
}

func read(t *testing.T, text string) *Table {
	t.Helper()
	table, err := Read(strings.NewReader(text), "scopes", form, canonical)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestScope(t *testing.T) {
	table := read(t, `
# login   users and shared mailboxes
mail1     *@example.com %SHARED/*@example.com	# the domain
mail2     anne bob@example.org lists-* b#1 %SHARED/news
mail3     * %SHARED
mail4     *
Mail5     *@example.org
%UNIX     anne
`)
	for _, c := range []struct {
		login, users, shared string // in the scope
		server               bool
	}{
		{"mail1", "anne@example.com", "example.com!news", false},
		{"mail2", "anne bob lists-1 b#1", "news", false},
		{"mail3", everybody, everything, true},
		{"mail4", everybody, "", false},
		{"mail5", "anne bob lists-1 xanne anne.b b#1 b", "", false},
		{"nobody", "", "", false},
	} {
		s := table.Of(c.login)
		if got := among(everybody, s.User); got != c.users {
			t.Errorf("%s: users %q, want %q", c.login, got, c.users)
		}
		if got := among(everything, s.Shared); got != c.shared {
			t.Errorf("%s: shared mailboxes %q, want %q", c.login, got, c.shared)
		}
		if s.Server() != c.server || s.All() != (c.login == "mail3") {
			t.Errorf("%s: the server %v, everything %v", c.login, s.Server(), s.All())
		}
	}
	if got := table.Logins(); len(got) != 6 || !slices.Contains(got, "mail4") {
		t.Errorf("logins %q", got)
	}
}

const (
	everybody  = "anne bob lists-1 xanne anne.b b#1 b anne@example.com anne@example.com.evil lists-1@evil"
	everything = "news example.com!news news2"
)

// among returns the names that are in a scope.
func among(names string, in func(string) bool) string {
	var out []string
	for _, n := range strings.Fields(names) {
		if in(n) {
			out = append(out, n)
		}
	}
	return strings.Join(out, " ")
}

func TestBadFile(t *testing.T) {
	for text, want := range map[string]string{
		"mail1 anne\nmail1 bob":    "scopes:2: login mail1 has a line already",
		"mail1 anne\nMAIL1 bob":    "scopes:2: login mail1 has a line already",
		"mail1 anne\nmail! bob":    "scopes:2: not a login: invalid character",
		"mail1":                    "scopes:1: login mail1 has no users",
		"mail1 # anne":             "scopes:1: login mail1 has no users",
		"mail1 %shared":            `"%shared" is not a user`,
		"mail1 %SHARED/":           `"%SHARED/" is not a user`,
		strings.Repeat("x", 2<<20): "after line 0",
	} {
		if _, err := Read(strings.NewReader(text), "scopes", form, canonical); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
	if _, err := Load(t.TempDir()+"/none", form, canonical); err == nil || !strings.Contains(err.Error(), "backup_scopes") {
		t.Errorf("no file: %v", err)
	}
}

// FuzzRead reads any file. A name with an @ is in a scope only by a pattern with an @, or by *.
func FuzzRead(f *testing.F) {
	f.Add("mail1 *@example.com %SHARED/*@example.com # x\nmail2 anne b*", "anne@example.com")
	f.Add("m * %SHARED", "")
	f.Add("m a*a*a*a*b", strings.Repeat("a", 200))
	f.Fuzz(func(t *testing.T, text, name string) {
		table, err := Read(strings.NewReader(text), "scopes", form, canonical)
		if err != nil {
			return
		}
		for _, login := range table.Logins() {
			s := table.Of(login)
			if s.User(name) && strings.Contains(name, "@") && !strings.Contains(text, "@") && !slices.Contains(s.users.patterns, anyUser) {
				t.Errorf("%q is in the scope of %q", name, text)
			}
			_ = s.Shared(name)
		}
	})
}
