package ctlbackups

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// compact -A names a missing backup, with -v all of them, and accepts one by its path.
func TestCompactAcceptMissing(t *testing.T) {
	w, _ := many(t, 30)
	if out, err := tool(t, w, "compact", "-A"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lose := func(prefix string) {
		for _, key := range w.Stores[0].Keys(prefix) {
			w.Stores[0].Lose(key)
		}
	}
	run := func(ok bool, want string, argv ...string) string {
		t.Helper()
		w.Now = w.Now.Add(time.Hour)
		out, err := tool(t, w, append([]string{"compact"}, argv...)...)
		if (err == nil) != ok || !strings.Contains(out, want) {
			t.Errorf("%v: %v: %q is missing in\n%s", argv, err, want, out)
		}
		return out
	}
	lose("backups/user/u005/")
	run(false, "--accept-missing default:user/u005\n", "-A")
	run(false, "--accept-missing user/u005: no partition misses it", "-A", "--accept-missing", "user/u005")
	run(false, "no partition misses it", "-A", "--accept-missing", "other:user/u005")
	run(false, "", "--accept-missing", "user/u005", "u004")
	run(true, "accepted that user/u005 is missing", "-n", "-A", "--accept-missing", "default:user/u005")
	run(true, "accepted that user/u005 is missing", "-A", "--accept-missing", "default:user/u005")
	run(true, "collect default: ok", "-A")
	lose("backups/user/u0")
	loseBut := run(false, "compact -A -v names all", "-A")
	all := run(false, "", "-A", "-v")
	for i := range 29 {
		line := fmt.Sprintf("--accept-missing default:user/u%03d\n", i)
		if i != 5 && strings.Count(all, line) != 1 {
			t.Errorf("%s is missing in %s", line, all)
		}
	}
	if n := strings.Count(loseBut, "are missing"); n != 20 {
		t.Errorf("%d lines: %s", n, loseBut)
	}
}
