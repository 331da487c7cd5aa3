package stores

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/partitions/tripwire"
)

// The tripwire is on by default. A wrong value is an error that names file, line and option.
func TestTripwire(t *testing.T) {
	for line, want := range map[string]tripwire.Rule{
		"":                              {Share: 30, Window: 24 * time.Hour, Least: 500},
		"backup_tripwire: no":           {},
		"backup_tripwire: 50% 12h 1000": {Share: 50, Window: 12 * time.Hour, Least: 1000},
	} {
		conf, err := imapconf.Parse("imapd.conf", "configdirectory: /c\n"+line+"\n", "")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Tripwire(conf); err != nil || got != want {
			t.Errorf("%q: %v, %v", line, got, err)
		}
	}
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: /c\nbackup_tripwire: 30 percent\n", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Tripwire(conf); err == nil || !strings.Contains(err.Error(), "imapd.conf:2: backup_tripwire: ") {
		t.Errorf("%v", err)
	}
}
