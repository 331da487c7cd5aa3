package ctlbackups

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// The exit status of doctor is that of its worst finding. Package doctor tests the findings.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	conf, cyrus := filepath.Join(dir, "imapd.conf"), filepath.Join(dir, "cyrus.conf")
	main := func(args ...string) (int, string, string) {
		var stdout, stderr bytes.Buffer
		status := Main(append([]string{"ctl_backups", "-C", conf}, args...), strings.NewReader(""), &stdout, &stderr)
		return status, stdout.String(), stderr.String()
	}
	status, out, errs := main("doctor", "--cyrus-conf", cyrus)
	if status != cli.ExitCritical || errs != "" || !strings.HasPrefix(out, "LEVEL") || !strings.Contains(out, conf) || !strings.HasSuffix(out, "\n1 error, 0 warnings, 0 ok\n") {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	status, out, _ = main("-j", "doctor", "--cyrus-conf", cyrus)
	var all struct {
		Level    string
		Errors   int
		Findings []struct{ Level, Check, Where, Text, Fix string }
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || status != cli.ExitCritical || all.Level != "error" || all.Errors != 1 || len(all.Findings) != 1 || all.Findings[0].Where != conf {
		t.Errorf("status %d, %v: %s", status, err, out)
	}
	if err := os.WriteFile(conf, []byte("configdirectory: /nowhere\nservername: b.example\nadmins: group:x anne\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	status, out, _ = main("doctor", "--client", "--cyrus-conf", cyrus)
	if status != cli.ExitOK || !strings.Contains(out, "\nbackup_sync_host: b.example\nbackup_sync_port: 2005\nbackup_sync_authname: anne\n") {
		t.Errorf("status %d, %s", status, out)
	}
	for _, wrong := range [][]string{{"doctor", "anne"}, {"doctor", "-A"}, {"list", "--client"}, {"list", "--cyrus-conf", "x"}} {
		if status, _, errs := main(wrong...); status != cli.ExitUsage {
			t.Errorf("%q: status %d, %s", wrong, status, errs)
		}
	}
}
