package ctlbackups

import (
	"strings"
	"testing"
)

// A backup that was set aside is listed as such, can be verified under its name, and belongs to
// no user.
func TestSetAside(t *testing.T) {
	w := two(t)
	out, err := tool(t, w, "set-aside", "bob")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, rest, ok := strings.Cut(out, "stored in ")
	where, _, _ := strings.Cut(rest, " (")
	if !ok || !strings.HasPrefix(where, "default:set-aside/user/bob/") || !strings.Contains(out, "set-aside bob: ok\n") {
		t.Fatalf("set-aside prints\n%s", out)
	}
	for argv, want := range map[string]string{
		"list -A":            "\t" + strings.TrimPrefix(where, "default:") + "\t" + where + "\n",
		"list --ndjson -A":   `"fname":"` + where + `","set_aside":"bob"}`,
		"verify -f " + where: "verify " + strings.TrimPrefix(where, "default:") + ": ok\n",
		"stat -f " + where:   strings.TrimPrefix(where, "default:") + "\t",
		"list -f " + where:   where,
		"verify -A":          "verify anne@example.org: ok\n",
	} {
		got, err := tool(t, w, strings.Fields(argv)...)
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %v, want %q in\n%s", argv, err, want, got)
		}
	}
	for _, argv := range []string{"set-aside -A", "stat bob", "list bob", "move -f " + where + " default", "reindex -f " + where, "lock -f " + where, "set-aside -f " + where, "set-aside bob"} {
		if got, err := tool(t, w, strings.Fields(argv)...); err == nil {
			t.Errorf("%s: %v, want that it is refused:\n%s", argv, err, got)
		}
	}
	if got, err := tool(t, w, "set-aside", "-f", "user/anne@example.org", "-j"); err != nil || !strings.Contains(got, `"command": "set-aside"`) {
		t.Errorf("by path: %v\n%s", err, got)
	}
	if got, err := tool(t, w, "verify", "-A"); err != nil || strings.Contains(got, "set-aside") {
		t.Errorf("verify -A: %v\n%s", err, got)
	}
}
