package cyrbackup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/visible"
)

// quotaText describes a quota. LIMIT is the older name of STORAGE; servers that have both send
// both, like the names of RFC 9208 next to the X- names. A negative limit means no limit
// (imap/quota.h).
func quotaText(fields []dlist.Pair) string {
	var out []string
	for _, f := range fields {
		text := ""
		switch f.Key {
		case "ROOT", "MODSEQ":
		case "LIMIT", "STORAGE":
			text = "storage " + kibibytes(f.Value.Str)
		case "MESSAGE":
			text = count(f.Value.Str) + " messages"
		case "X-NUM-FOLDERS", "MAILBOX":
			text = count(f.Value.Str) + " folders"
		case "X-ANNOTATION-STORAGE", "ANNOTATION-STORAGE":
			text = "annotations " + kibibytes(f.Value.Str)
		default:
			text = strings.ToLower(f.Key) + " " + visible.Text(string(dlist.Append(nil, f.Value, false)))
		}
		if text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return strings.Join(out, ", ")
}

// kibibytes formats a storage limit, which quotas count in units of 1024 bytes.
func kibibytes(n string) string {
	k, limited := limit(n)
	if !limited {
		return "unlimited"
	}
	return fmt.Sprintf("%d KiB (%s)", k, humanize.IBytes(k<<10))
}

func count(n string) string {
	c, limited := limit(n)
	if !limited {
		return "unlimited"
	}
	return fmt.Sprint(c)
}

// limit parses a limit. -1, which some servers send as a 32-bit number, means no limit.
func limit(s string) (n uint64, limited bool) {
	n, err := strconv.ParseUint(s, 10, 54)
	return n, err == nil && n != 1<<32-1
}
