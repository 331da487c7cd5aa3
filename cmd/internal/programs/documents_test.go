package programs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// documents have command lines that administrators copy.
var documents = []string{"README.md", "docs/*.md", "docs/man/*.md"}

// TestDocuments passes each command line of the documents to the program that it names. Without an
// imapd.conf, each must end with ExitConfig: with all options, commands and arguments accepted. In
// the middle of a sentence a command may lack arguments, but its options and verb must exist.
func TestDocuments(t *testing.T) {
	whole := 0
	for _, pattern := range documents {
		files, err := filepath.Glob(filepath.Join("../../..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(files))
		}
		for _, file := range files {
			if filepath.Base(file) == "design.md" { // has plans, too
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range commandLines(string(text)) {
				if c.whole {
					whole++
				}
				if said := refused(t, c); said != "" {
					t.Errorf("%s:%d: %q\n%s", strings.TrimPrefix(file, "../../../"), c.line, c.argv, said)
				}
			}
		}
	}
	if whole < 100 {
		t.Errorf("only %d command lines were found", whole)
	}
}

// refused returns the program's complaint about a command line, or nothing.
func refused(t *testing.T, c documented) string {
	t.Helper()
	program, ok := lookup(c.argv[0])
	if !ok {
		t.Fatalf("no program %s", c.argv[0])
	}
	argv := []string{program.name}
	if !c.whole && program.name == "cyr_backup" && len(c.argv) > 2 && isObject(c.argv[2]) {
		argv = append(argv, "anne") // "cyr_backup list mailboxes" is about any backup
	}
	for i, a := range c.argv[1:] {
		if a != "-C" && c.argv[i] != "-C" { // the document's imapd.conf
			argv = append(argv, a)
		}
	}
	argv = slices.Insert(argv, 1, "-C", filepath.Join(t.TempDir(), "imapd.conf"))
	var out, said bytes.Buffer
	status := program.main(argv, strings.NewReader("a long secret\n"), &out, &said)
	switch {
	case status == cli.ExitConfig, dated.Match(said.Bytes()):
	case status == cli.ExitOK && slices.ContainsFunc(argv, func(a string) bool { return about.MatchString(a) }):
	case status == cli.ExitCritical && slices.Contains(argv, "doctor"): // no imapd.conf is a finding
	case c.whole || unknown.Match(said.Bytes()):
		return fmt.Sprintf("status %d: %s", status, bytes.TrimSpace(said.Bytes()))
	}
	return ""
}

// isObject reports whether a word names what a command of cyr_backup is about.
func isObject(w string) bool {
	return slices.Contains([]string{"all", "bodies", "chunks", "mailboxes", "message", "messages", "state"}, w)
}

var (
	// about matches options that print something and end.
	about = regexp.MustCompile(`^--(help|version|completion)$`)
	// unknown is the complaint about an option or a verb that does not exist.
	unknown = regexp.MustCompile(`unknown (shorthand )?flag|is not a command|cannot be used with`)
	// dated is the complaint about a time that was right when the document was written.
	dated = regexp.MustCompile(`in the future`)
	// span is code in the middle of a sentence.
	span = regexp.MustCompile("`([^`\n]+)`")
	// entry is the command of an entry in cyrus.conf.
	entry = regexp.MustCompile(`\bcmd="([^"]*)"`)
)

// documented is a command line of a document.
type documented struct {
	line  int
	argv  []string
	whole bool // it can be copied: a line of a block
}

// commandLines returns the command lines of our tools in a document. Lines of code are indented by
// four spaces, or between two lines of ```. If some lines of a block begin with "$ ", the others are
// output.
func commandLines(text string) []documented {
	var found []documented
	for _, b := range blocks(text) {
		prompts := slices.ContainsFunc(b.lines, func(l string) bool { return strings.HasPrefix(l, "$ ") })
		for i, l := range b.lines {
			if prompts && !strings.HasPrefix(l, "$ ") {
				continue
			}
			for _, argv := range commands(strings.TrimPrefix(l, "$ ")) {
				found = append(found, documented{b.line + i, argv, true})
			}
		}
	}
	for i, l := range strings.Split(text, "\n") {
		for _, s := range span.FindAllStringSubmatch(l, -1) {
			if inline := strings.Trim(s[1], " "); !strings.HasPrefix(l, "    ") || strings.HasPrefix(strings.TrimSpace(l), "*") {
				for _, argv := range commands(inline) {
					found = append(found, documented{i + 1, argv, false})
				}
			}
		}
	}
	return found
}

type block struct {
	line  int
	lines []string
}

func blocks(text string) []block {
	var all []block
	var open *block
	fenced := false
	for i, l := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(l, "```"):
			fenced, open = !fenced, nil
		case fenced || strings.HasPrefix(l, "    "):
			if open == nil {
				all = append(all, block{line: i + 1})
				open = &all[len(all)-1]
			}
			open.lines = append(open.lines, strings.TrimSpace(l))
		default:
			open = nil
		}
	}
	return all
}

// commands returns the commands of our tools in a line of a shell or of cyrus.conf.
func commands(line string) [][]string {
	if e := entry.FindStringSubmatch(line); e != nil {
		line = e[1]
	}
	var found [][]string
	for _, words := range simple(line) {
		for i, w := range words {
			name := strings.TrimPrefix(filepath.Base(w), "backup_")
			if !slices.Contains([]string{"ctl_backups", "cyr_backup", "restore"}, name) {
				if slices.Contains([]string{"sudo", "-u", "cyrus", "do", "then", "if", "!"}, w) {
					continue
				}
				break
			}
			if i+1 < len(words) {
				found = append(found, append([]string{name}, words[i+1:]...))
			}
			break
		}
	}
	return found
}

// simple splits a line into its simple commands, and those into words, by the rules of sh(1) that
// documents use: quotes, a backslash, comments, pipes, lists and redirections.
func simple(line string) [][]string {
	var all [][]string
	var words []string
	var word strings.Builder
	begun, quote, skip := false, rune(0), false
	end := func() {
		if begun && !skip {
			words = append(words, word.String())
		}
		skip = skip && !begun
		word.Reset()
		begun = false
	}
	for i, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, begun = r, true
		case r == '#' && !begun && (i == 0 || line[i-1] == ' '):
			end()
			return append(all, words)
		case r == ' ' || r == '\t':
			end()
		case r == '|' || r == ';' || r == '&' || r == '(' || r == ')':
			end()
			all, words, skip = append(all, words), nil, false
		case r == '>' || r == '<':
			if w := word.String(); w == "2" || w == "1" {
				word.Reset()
				begun = false
			}
			end()
			skip = true
		case r == '\\':
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	end()
	return append(all, words)
}
