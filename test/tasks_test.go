package test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	// cellEnd ends a cell of a table, and code is a command in one.
	cellEnd = regexp.MustCompile(`(^|[^\\])\|`)
	code    = regexp.MustCompile("`([^`]+)`")
	// measured is the time that a command has taken.
	measured = regexp.MustCompile(`^ \d+(\.\d)? (s|min) $`)
)

// TestTasks checks that docs/tasks.md has the tasks of an administrator, each with commands, what they show, and a
// document with more, and that test/documents types each command: as a line of a document that it types whole, or
// literally. TestCommandLines of test/documents runs them.
func TestTasks(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	documents := ""
	for _, path := range []string{"README.md", "docs/monitoring.md", "docs/administration.md", "docs/restore.md", "docs/migrating.md", "docs/man/backup-runbook.7.md"} {
		documents += read("../" + path)
	}
	typed := map[string]bool{}
	for line := range strings.Lines(documents) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " # ")
		typed[strings.TrimSpace(line)] = true
	}
	script, tasks := read("documents/tasks.py")+read("documents/second.py"), map[string]bool{}
	for line := range strings.Lines(read("../docs/tasks.md")) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Task |") {
			continue
		}
		cells := strings.Split(cellEnd.ReplaceAllString(strings.Trim(strings.TrimSpace(line), "|"), "$1\x00"), "\x00")
		if len(cells) != 5 || strings.TrimSpace(cells[2]) == "" || !strings.Contains(cells[4], "](") || tasks[cells[0]] {
			t.Errorf("no row with a task, commands, what one sees, the time and a link: %s", line)
			continue
		}
		tasks[cells[0]] = true
		if !measured.MatchString(cells[3]) {
			t.Errorf("no time: %s", line)
		}
		commands := code.FindAllStringSubmatch(cells[1], -1)
		if len(commands) == 0 {
			t.Errorf("no command: %s", line)
		}
		for _, c := range commands {
			command := strings.ReplaceAll(c[1], `\|`, "|")
			if !typed[command] && !strings.Contains(script, command) {
				t.Errorf("nothing types %s", command)
			}
		}
	}
	if len(tasks) < 40 {
		t.Errorf("%d tasks", len(tasks))
	}
}
