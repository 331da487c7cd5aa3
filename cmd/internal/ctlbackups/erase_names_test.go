package ctlbackups

import (
	"strings"
	"testing"
)

// erase is about all copies of whole backups. A name that means less erases nothing.
func TestEraseRefusesParts(t *testing.T) {
	w := moved(t)
	was := len(allKeys(w, "bob"))
	for want, argv := range map[string][]string{
		"is one copy":   {"-f", "cold:user/bob"}, // as list and erase -n print it
		"whole backups": {"-m", "user.bob.Old"},
	} {
		out, err := tool(t, w, append([]string{"erase", "--yes", "--reason", "x"}, argv...)...)
		if err == nil || !strings.Contains(err.Error()+out, want) {
			t.Errorf("%q: %v: %s, want an error with %q", argv, err, out, want)
		}
	}
	if is := len(allKeys(w, "bob")); is != was {
		t.Fatalf("%d of %d objects of bob are left", is, was)
	}
	for _, argv := range [][]string{{"-m", "user.bob"}, {"-f", "user/bob"}} {
		if out, err := tool(t, w, append([]string{"erase", "-n"}, argv...)...); err != nil || !strings.Contains(out, "user/bob") {
			t.Errorf("%q: %v: %s", argv, err, out)
		}
	}
}
