package sasl

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// SetPasswords adds users, and replaces a password only if asked to. All change or none.
func TestSetPasswords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	passwords := map[string]string{"anne": "a", "bob": "b", "carol": "c"}
	set := func(replace, dry bool, want map[string]Outcome) {
		t.Helper()
		before, _ := os.ReadFile(path)
		got, err := SetPasswords(path, passwords, replace, dry)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
		if after, _ := os.ReadFile(path); dry && string(before) != string(after) {
			t.Error("a dry run has changed the file")
		}
	}
	knows := func(user, password string) {
		t.Helper()
		if ok, err := OpenCredentials(path).CheckPassword(t.Context(), user, password); !ok || err != nil {
			t.Errorf("%s does not have the password %s: %v", user, password, err)
		}
	}
	set(false, true, map[string]Outcome{"anne": Added, "bob": Added, "carol": Added})
	if _, err := os.Stat(path); err == nil {
		t.Error("a dry run has created the file")
	}
	for user, password := range map[string]string{"anne": "a", "bob": "mine"} {
		if err := SetPassword(path, user, password); err != nil {
			t.Fatal(err)
		}
	}
	set(false, true, map[string]Outcome{"anne": Unchanged, "bob": Kept, "carol": Added})
	set(false, false, map[string]Outcome{"anne": Unchanged, "bob": Kept, "carol": Added})
	knows("anne", "a")
	knows("bob", "mine")
	knows("carol", "c")
	set(true, false, map[string]Outcome{"anne": Unchanged, "bob": Replaced, "carol": Unchanged})
	knows("bob", "b")

	passwords["dora"], passwords["bob"] = "\x00", "another"
	if got, err := SetPasswords(path, passwords, true, false); err == nil || got != nil {
		t.Errorf("a bad password: %v, %v", got, err)
	}
	knows("bob", "b")
}

// Allows gives the reason why a login is of no use.
func TestAllows(t *testing.T) {
	a := newAuth(t, Options{Users: UserNames{ToLower: true}, LoginRealms: []string{"example.com"}, Admins: Admins{Words: []string{"repl", "repl@example.com", "repl@example.net"}}})
	for name, want := range map[string]string{
		"Repl":             "",
		"repl@example.com": "",
		"repl@example.net": `cross-realm login of "repl@example.net": authentication failure`,
		"anne":             `"anne" is not an admin: authentication failure`,
		"a/b":              `user name "a/b": '/' is not allowed: authentication failure`,
	} {
		got, err := a.Allows(name)
		switch {
		case want == "" && (err != nil || got != lower(name)):
			t.Errorf("%s: %q, %v", name, got, err)
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
