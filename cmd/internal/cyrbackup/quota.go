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

// quotaText says what a quota allows. LIMIT is the older name of STORAGE, and what a
// server sends that has both, as those of RFC 9208 stand beside the X- names; a limit of less than nothing is none (imap/quota.h).
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

// kibibytes is a limit of storage, which quotas count in 1024 bytes.
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

// limit reads one: -1, which some servers send as a number of 32 bits, is none.
func limit(s string) (n uint64, limited bool) {
	n, err := strconv.ParseUint(s, 10, 54)
	return n, err == nil && n != 1<<32-1
}
