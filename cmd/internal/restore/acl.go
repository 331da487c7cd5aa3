package restore

import (
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// parseACL reads the value of -A: who, what, who, what, … between tabs, as Cyrus has it,
// or between spaces, as people write it. Cyrus would take anything else, and nobody could
// open the mailbox then.
func parseACL(s string) (string, error) {
	if s == noACL || s == "" {
		return "", nil
	}
	split := strings.Fields(s)
	if strings.Contains(s, "\t") { // then who can have spaces in his name
		split = strings.Split(strings.TrimSuffix(s, "\t"), "\t")
	}
	if len(split)%2 != 0 {
		return "", cli.Usagef("-A %s: write IDENTIFIER RIGHTS..., as in -A'anne lrswipkxtecda anyone lrs'", s)
	}
	return strings.Join(split, "\t") + "\t", nil
}
