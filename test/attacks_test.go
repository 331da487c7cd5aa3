package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// attackColumns are those of each table in docs/attacks.md.
const attackColumns = "attack | before | now | bound | test"

// fewestAttacks is how many rows docs/attacks.md has at least.
const fewestAttacks = 60

// TestAttacks checks docs/attacks.md: each row has all columns, another attack and tests that exist, and names
// tests of test/attack where it names make attack.
func TestAttacks(t *testing.T) {
	text, err := os.ReadFile("../docs/attacks.md")
	if err != nil {
		t.Fatal(err)
	}
	rows, wrong := attackRows(string(text))
	for _, line := range wrong {
		t.Errorf("this is no row with the columns %s: %s", attackColumns, line)
	}
	if len(rows) < fewestAttacks {
		t.Errorf("%d attacks, want at least %d", len(rows), fewestAttacks)
	}
	all, byMake, seen := declaredTests(t), attackTests(t), map[string]bool{}
	for _, row := range rows {
		attack, by := row[0], row[len(row)-1]
		if seen[attack] {
			t.Errorf("this attack is listed twice: %s", attack)
		}
		seen[attack] = true
		tests := named.FindAllStringSubmatch(by, -1)
		if len(tests) == 0 {
			t.Errorf("no test performs this attack: %s", attack)
		}
		long := false
		for _, m := range tests {
			if !all[m[1]] {
				t.Errorf("docs/attacks.md names %s, which does not exist", m[1])
			}
			long = long || byMake[m[1]]
		}
		if strings.Contains(by, "make attack") && !long {
			t.Errorf("make attack does not run %s", by)
		}
	}
}

// attackRows returns the rows of the tables in a document, and lines of tables that are no complete rows.
func attackRows(text string) (rows [][]string, wrong []string) {
	within := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		title := line == "| "+attackColumns+" |"
		switch {
		case !strings.HasPrefix(line, "|"):
			within = false
		case title || strings.HasPrefix(line, "|--"):
			within = within || title
		case !within:
			wrong = append(wrong, line)
		default:
			cells := strings.Split(strings.Trim(line, "|"), " | ")
			full := len(cells) == strings.Count(attackColumns, "|")+1
			for i, c := range cells {
				cells[i] = strings.TrimSpace(c)
				full = full && cells[i] != ""
			}
			if !full {
				wrong = append(wrong, line)
				continue
			}
			rows = append(rows, cells)
		}
	}
	return rows, wrong
}

// attackTests returns the tests that make attack runs.
func attackTests(t *testing.T) map[string]bool {
	t.Helper()
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	run := regexp.MustCompile(`(?m)^attack:.*\n\tATTACK=1 .* \./test/attack$`)
	if !run.Match(makefile) {
		t.Fatal("make attack does not run ./test/attack")
	}
	files, err := filepath.Glob("attack/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunc.FindAllSubmatch(source, -1) {
			found[string(m[1])] = true
		}
	}
	return found
}

// A row without a column, or outside of a table with the right title, is no row.
func TestAttackRows(t *testing.T) {
	const title = "| " + attackColumns + " |\n|---|---|---|---|---|\n"
	for text, want := range map[string][2]int{
		title + "| a | b | c | d | `TestX` |\n":                       {1, 0},
		title + "| a | b | c | `TestX` |\n":                           {0, 1},
		title + "| a | b | c |  | `TestX` |\n":                        {0, 1},
		title + "\n| a | b | c | d | `TestX` |\n":                     {0, 1},
		title + "| a | b | c | d | e |\n\ntext\n" + title:             {1, 0},
		"| attack | now | test |\n|---|---|---|\n| a | b | `TestX` |": {0, 2},
	} {
		rows, wrong := attackRows(text)
		if len(rows) != want[0] || len(wrong) != want[1] {
			t.Errorf("%q: %q, wrong %q", text, rows, wrong)
		}
	}
}
