package restore

import (
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// parseACL parses the value of -A: identifiers and rights in turn, separated by tabs, as in
// Cyrus, or by spaces. It rejects anything else: Cyrus would accept it, and nobody could open
// the mailbox.
func parseACL(s string) (string, error) {
	if s == noACL || s == "" {
		return "", nil
	}
	split := strings.Fields(s)
	if strings.Contains(s, "\t") { // so identifiers may contain spaces
		split = strings.Split(strings.TrimSuffix(s, "\t"), "\t")
	}
	if len(split) == 0 || len(split)%2 != 0 || slices.Contains(split, "") {
		return "", cli.Usagef("-A %s: write IDENTIFIER RIGHTS..., as in -A'anne lrswipkxtecda anyone lrs'", s)
	}
	return strings.Join(split, "\t") + "\t", nil
}
