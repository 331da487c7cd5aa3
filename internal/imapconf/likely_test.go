package imapconf_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// Cyrus ignores misspelt options silently.
func TestMisspeltOptionsAreReported(t *testing.T) {
	for line, want := range map[string]string{
		"backup_index_pth: /x":                "did you mean backup_index_path?",
		"backup-index-path: /x":               "did you mean backup_index_path?",
		"bakup_index_path: /x":                "did you mean backup_index_path?",
		"backup_comprssion: better":           "did you mean backup_compression?",
		"backupd_backup_outagewait: 1m":       "did you mean backup_outage_wait?",
		"backuppartition_default: /x":         "did you mean backuppartition-default?",
		"backup_partition-main: /x":           "did you mean backuppartition-main?",
		"backup_something_of_another: no":     "unknown option backup_something_of_another",
		"backuppartition-default: /x":         "",
		"backup_index_path: /x":               "",
		"backupd_backup_index_path: /x":       "",
		"backupd_tls_something: /x":           "",
		"backup_sync_host: localhost":         "",
		"partition-default: /x":               "",
		"virusscan_notification_template: /x": "",
	} {
		conf, err := imapconf.Parse("imapd.conf", "configdirectory: /x\n"+line+"\n", "backupd")
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(conf.Warnings(), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) || want != "" && !strings.HasPrefix(got, "imapd.conf:2: ") {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
