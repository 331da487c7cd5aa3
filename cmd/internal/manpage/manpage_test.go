package manpage

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the pages")
	flag.Parse()
	os.Exit(m.Run())
}

func TestManPage(t *testing.T) {
	Golden(t, "../../../docs/man/backup-imapd.conf.5", OfSettings(imapconf.Options()))
	Golden(t, "../../../docs/man/backup-runbook.7", nil)
}

// The page lists options without effect: exactly the options that no program reads.
func TestOptionsWithoutEffect(t *testing.T) {
	source := programs(t)
	for _, o := range imapconf.Options() {
		asked := bytes.Contains(source, []byte(`"`+o.Name+`"`))
		for _, family := range []string{"restore_", "sync_"} { // restore picks either
			if name, ok := strings.CutPrefix(o.Name, family); ok {
				asked = asked || bytes.Contains(source, []byte(`pick("`+name+`")`))
			}
		}
		if o.ReplacedBy == "" && asked == o.NoEffect {
			t.Errorf("%s: asked for: %v, NoEffect: %v", o.Name, asked, o.NoEffect)
		}
	}
}

// programs returns all Go source except tests and the table of options.
func programs(t *testing.T) []byte {
	t.Helper()
	var all []byte
	err := filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "test" || name == ".cache"):
			return fs.SkipDir
		case filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "options_"):
			return nil
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRender(t *testing.T) {
	p := cmdline.New("sieve", "[-n] GRAIN...")
	p.Verbs = []cmdline.Verb{{Name: "shake", Args: "[-t[HOURS]]", Text: "shake *it*"}}
	p.Exit = []cmdline.Status{{Code: 64, Text: "no"}}
	got, err := Render("% SIEVE 1\n\n# SYNOPSIS\n\n<!-- synopsis -->\n\n# COMMANDS\n\n<!-- commands -->\n\n<!-- exit status -->\n", OfProgram(p))
	want := `.nh
.TH SIEVE 1

.SH SYNOPSIS
\fBsieve\fP [\-n] \fIGRAIN\fP\&...


.SH COMMANDS
.TP
\fBshake\fP [\-t[\fIHOURS\fP]]
shake *it*\&.

.TP
\fB64\fP
no.
`
	if d := cmp.Diff(want, string(got)); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestRenderNeedsEveryPart(t *testing.T) {
	for _, source := range []string{"<!-- a -->", "<!-- a -->\n\n<!-- b -->\n\n<!-- c -->"} {
		if page, err := Render(source, Parts{"a": "A", "b": "B"}); err == nil {
			t.Errorf("%s: %s", source, page)
		}
	}
}

// mandoc and groff format the pages without warnings.
func TestFormattersDoNotWarn(t *testing.T) {
	pages, err := filepath.Glob("../../../docs/man/*.[1-8]")
	if err != nil || len(pages) < 6 {
		t.Fatal(pages, err)
	}
	for _, formatter := range [][]string{{"mandoc", "-T", "lint", "-W", "warning"}, {"groff", "-ww", "-t", "-k", "-man", "-Tutf8", "-z"}} {
		if _, err := exec.LookPath(formatter[0]); err != nil {
			t.Logf("%s is not here", formatter[0])
			continue
		}
		for _, page := range pages {
			out, err := exec.CommandContext(t.Context(), formatter[0], append(formatter[1:], page)...).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("%s %s: %v\n%s", formatter[0], page, err, out)
			}
		}
	}
}
