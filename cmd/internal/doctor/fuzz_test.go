package doctor

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// FuzzCyrusConf parses cyrus.conf. Each entry is about a line of it.
func FuzzCyrusConf(f *testing.F) {
	f.Add("SERVICES {\n  csync cmd=\"backupd -C /etc/imapd.conf\" listen=\"2005\" # x\n}\nEVENTS {\n}\n")
	f.Add("SERVICES {\n x cmd=\"\n}\nSERVICES { }\n")
	f.Fuzz(func(t *testing.T, text string) {
		fuzztest.Within(t, 64<<10+2<<10*int64(len(text)), func() {
			lines := strings.Split(text, "\n")
			all := parseCyrusConf(text)
			if len(all) > len(lines) {
				t.Fatalf("%d entries in %d lines", len(all), len(lines))
			}
			for _, e := range all {
				named := e.name != "{" // of a section, which may lack it
				if e.line < 1 || e.line > len(lines) || named && !strings.Contains(strings.ReplaceAll(lines[e.line-1], "\t", " "), e.name) {
					t.Errorf("line %d has no entry %q", e.line, e.name)
				}
				e.program()
			}
			daemons(all)
		})
	})
}
