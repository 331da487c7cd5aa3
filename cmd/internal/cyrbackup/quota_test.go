package cyrbackup

import (
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

func TestQuotaText(t *testing.T) {
	p := func(pairs ...string) (out []dlist.Pair) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, dlist.P(pairs[i], dlist.S(pairs[i+1])))
		}
		return out
	}
	for want, fields := range map[string][]dlist.Pair{
		"storage 1048576 KiB (1.0 GiB)":                  p("ROOT", "user.anne", "LIMIT", "1048576", "STORAGE", "1048576", "MODSEQ", "1"),
		"storage unlimited, 500 messages, 20 folders":    p("ROOT", "user.anne", "LIMIT", "4294967295", "MESSAGE", "500", "X-NUM-FOLDERS", "20"),
		"storage unlimited, annotations 10 KiB (10 KiB)": p("LIMIT", "-1", "X-ANNOTATION-STORAGE", "10"),
		"storage 0 KiB (0 B), x-more 7":                  p("LIMIT", "0", "X-MORE", "7"),
	} {
		if got := quotaText(fields); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
