package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// named is a test or a scenario in docs/security.md.
	named = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*|Fuzz[A-Z][A-Za-z0-9]*|lab:[a-z0-9]+)`")
	// testFunc and labFunc declare them.
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
	labFunc  = regexp.MustCompile(`(?m)^@scenario\("([a-z0-9-]+)"`)
)

// TestSecurityClaims checks that each line in the tables about an attacker in docs/security.md names a test or a
// document that shows it, and that each test and scenario named on the page exists.
func TestSecurityClaims(t *testing.T) {
	text, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	claims, within := 0, false
	for line := range strings.Lines(string(text)) {
		title := strings.HasPrefix(line, "| | Shown by |")
		within = title || within && strings.HasPrefix(line, "|")
		if !within || title || strings.HasPrefix(line, "|--") {
			continue
		}
		claims++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if by := cells[len(cells)-1]; len(cells) != 2 || !named.MatchString(by) && !strings.Contains(by, "](") {
			t.Errorf("nothing shows: %s", line)
		}
	}
	if claims < 40 {
		t.Errorf("%d claims", claims)
	}
	all := declaredTests(t)
	for _, m := range named.FindAllStringSubmatch(string(text), -1) {
		if !all[m[1]] {
			t.Errorf("docs/security.md names %s, which does not exist", m[1])
		}
	}
}

// declaredTests returns the names of all tests in the repository, and of the scenarios of the lab.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && e.Name() != ".." && strings.HasPrefix(e.Name(), "."):
			return filepath.SkipDir
		case e.IsDir():
			return nil
		}
		prefix, declares := "", testFunc
		if strings.HasPrefix(path, filepath.Join("..", "test", "lab", "scenarios")) && strings.HasSuffix(path, ".py") {
			prefix, declares = "lab:", labFunc
		} else if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range declares.FindAllStringSubmatch(string(text), -1) {
			found[prefix+m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
