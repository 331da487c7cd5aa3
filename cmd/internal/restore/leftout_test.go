package restore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Mail is restored although another partition cannot be opened.
func TestRestoreWithADeadPartition(t *testing.T) {
	config, _ := host(t)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(t.TempDir(), "imapd.conf")
	if err := os.WriteFile(both, append(text, "\nbackuppartition-dead: "+file+"/below\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "to")
	code, said := program(t, "-C", both, "--to", "eml:"+to, "anne", "-a")
	if code != 0 || len(bodies(t, to)) == 0 || !strings.Contains(said, "warning: partition dead") {
		t.Errorf("status %d, %d messages: %s", code, len(bodies(t, to)), said)
	}
	if code, said := program(t, "-C", both, "--to", "eml:"+to, "nobody", "-a"); code != 75 || !strings.Contains(said, "cannot determine whether") {
		t.Errorf("of nobody: status %d: %s", code, said)
	}
}
