package sasl

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestPasswd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	if users, err := Users(path); err != nil || users != nil {
		t.Errorf("no file: %q %v", users, err)
	}
	if found, err := RemoveUser(path, "anne"); found || err != nil {
		t.Errorf("remove from nothing: %v %v", found, err)
	}
	c := OpenCredentials(path)
	if c.Exists() {
		t.Error("removing a user created the file")
	}
	check := func(user, password string, want bool) {
		t.Helper()
		if ok, err := c.CheckPassword(t.Context(), user, password); ok != want || err != nil {
			t.Errorf("%s: %v, %v", user, ok, err)
		}
	}
	for _, user := range []string{"bert", "anne"} {
		if err := SetPassword(path, user, "one"); err != nil {
			t.Fatal(err)
		}
	}
	check("anne", "one", true)
	check("anne", "two", false)
	check("nobody", "one", false)
	// A change is visible at once.
	if err := SetPassword(path, "anne", "two"); err != nil {
		t.Fatal(err)
	}
	check("anne", "two", true)
	check("anne", "one", false)
	if users, err := Users(path); err != nil || !slices.Equal(users, []string{"anne", "bert"}) {
		t.Errorf("%q %v", users, err)
	}
	if found, err := RemoveUser(path, "anne"); !found || err != nil {
		t.Errorf("remove: %v %v", found, err)
	}
	check("anne", "two", false)
	check("bert", "one", true)

	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(data), "one") {
		t.Errorf("the password is in the file: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("leftover files: %v", left)
	}
}

func TestConcurrentPasswd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := SetPassword(path, fmt.Sprintf("user%d", i), "pw"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if users, err := Users(path); len(users) != 8 || err != nil {
		t.Errorf("%q %v", users, err)
	}
}

func TestNewPasswords(t *testing.T) {
	for password, want := range map[string]bool{
		"pencil": true, "with blank": true, "gr\u00fcn": true,
		"": false, "a\tb": false, "\u2168": false, "gru\u0308n": false, "\xff": false,
	} {
		if err := CheckNewPassword(password); (err == nil) != want {
			t.Errorf("%q: %v", password, err)
		} else if err != nil && password != "" && strings.Contains(err.Error(), password) {
			t.Errorf("the password is in %q", err)
		}
	}
}

func TestBadCredentials(t *testing.T) {
	good, err := os.ReadFile(credentials(t, "anne").path)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, old, new string
		mode           os.FileMode
		want           string
	}{
		{"good", "", "", 0o640, ""},
		{"world", "", "", 0o604, "has mode 0604"},
		{"group writes", "", "", 0o620, "has mode 0620"},
		{"cut", "}", "", 0o600, "unexpected EOF"},
		{"version", `"version": 1`, `"version": 2`, 0o600, "unknown version 2"},
		{"iterations", "16384", "1", 0o600, "iterations are not between"},
		{"keys", `"stored_key": "`, `"stored_key": "AAAA`, 0o600, "keys are not"},
		{"salt", `"salt"`, `"pepper"`, 0o600, "salt is shorter"},
		{"decoy", `"decoy"`, `"decay"`, 0o600, "decoy is shorter"},
		{"more", "", "{}", 0o600, "data follows"},
	}
	for _, tt := range tests {
		text := string(good) + tt.new
		if tt.old != "" {
			text = strings.Replace(string(good), tt.old, tt.new, 1)
		}
		path := filepath.Join(t.TempDir(), "credentials")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		ok, err := OpenCredentials(path).CheckPassword(t.Context(), "anne", "anne-pw")
		if tt.want == "" {
			if !ok || err != nil {
				t.Errorf("%s: %v, %v", tt.name, ok, err)
			}
			continue
		}
		if ok || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", tt.name, ok, err)
		}
		if err := SetPassword(path, "bert", "pw"); err == nil {
			t.Errorf("%s: overwritten", tt.name)
		}
	}
}
