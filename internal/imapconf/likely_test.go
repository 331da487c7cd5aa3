package imapconf_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// What is misspelt has no effect, in silence as far as Cyrus is concerned.
func TestMisspeltOptionsAreReported(t *testing.T) {
	for line, want := range map[string]string{
		"backup_index_pth: /x":                "is backup_index_path meant?",
		"backup-index-path: /x":               "is backup_index_path meant?",
		"bakup_index_path: /x":                "is backup_index_path meant?",
		"backup_compresion: better":           "is backup_compression meant?",
		"backupd_backup_outagewait: 1m":       "is backup_outage_wait meant?",
		"backuppartition_default: /x":         "is backuppartition-default meant?",
		"backup_partition-main: /x":           "is backuppartition-main meant?",
		"backup_something_of_another: no":     "is not an option that backupd knows",
		"backuppartition-default: /x":         "",
		"backup_index_path: /x":               "",
		"backupd_backup_index_path: /x":       "",
		"backupd_tls_something: /x":           "",
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
