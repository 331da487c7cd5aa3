package ctlbackups

import (
	"strings"
	"testing"
)

func TestHours(t *testing.T) {
	for in, want := range map[string]string{
		"list -t48":           "list --stale=48",
		"list -t 48 -A":       "list --stale=48 -A",
		"list --stale 48":     "list --stale=48",
		"list --stale=7 a":    "list --stale=7 a",
		"list -t -A":          "list --stale -A",
		"list -t anne":        "list --stale anne",
		"list -jt12 anne":     "list -j --stale=12 anne",
		"list -At":            "list -A --stale",
		"list 12 -t":          "list 12 --stale",
		"list -t -- 12":       "list --stale -- 12",
		"lock a -x t5":        "lock a -x t5",
		"lock a -xt5":         "lock a -xt5",
		"-C -t5 list":         "-C -t5 list",
		"list --execute -t 5": "list --execute -t 5",
		"list -t5x":           "list -t5x",
	} {
		if got := strings.Join(hours(strings.Fields(in)), " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
