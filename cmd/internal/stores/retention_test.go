package stores

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// A rule that would keep something beyond backup_retention has no effect without it, and a warning
// names its line.
func TestIdleRetention(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil,
		"backup_retention: 30d\nbackup_keep_daily: 7\n":                           nil,
		"backup_keep_daily: 7\nbackup_deleted_folders: 60d\n":                     {"imapd.conf:2: backup_keep_daily has no effect", "imapd.conf:3: backup_deleted_folders has no effect"},
		"backup_retention: 0\nbackup_keep_yearly: 7\n":                            {"imapd.conf:3: backup_keep_yearly has no effect"},
		"backup_keep_weekly: 1\nbackup_keep_monthly: 1\nbackup_retention_days: 5": nil,
	} {
		conf, err := imapconf.Parse("imapd.conf", "configdirectory: /c\n"+text, "")
		if err != nil {
			t.Fatal(err)
		}
		got := IdleRetention(conf)
		if len(got) != len(want) {
			t.Errorf("%q: %q", text, got)
			continue
		}
		for i, w := range want {
			if !strings.HasPrefix(got[i], w) {
				t.Errorf("%q: %q, want %q", text, got[i], w)
			}
		}
	}
}
