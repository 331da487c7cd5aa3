package manpage

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
)

// Program compares a program's page, such as docs/man/backupd.8, with the page generated from
// its source and the program. With -update it writes the page.
func Program(t *testing.T, path string, p *cmdline.Program) {
	t.Helper()
	Golden(t, path, OfProgram(p))
	roff, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range p.Groups() {
		for _, o := range g.Options {
			if name := strings.ReplaceAll("--"+o.Long, "-", `\-`); !bytes.Contains(roff, []byte(name)) {
				t.Errorf("%s does not have --%s", path, o.Long)
			}
		}
	}
}

// Golden compares the page at path with the page generated from path.md and the parts. Each
// package with a page defines the flag -update for its tests.
func Golden(t *testing.T, path string, parts Parts) {
	t.Helper()
	source, err := os.ReadFile(path + ".md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := Render(string(source), parts)
	if err != nil {
		t.Fatalf("%s.md: %v", path, err)
	}
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from %s.md and the program: run make man", path, path)
	}
}
