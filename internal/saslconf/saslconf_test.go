package saslconf_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/saslconf"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

func TestOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	if err := sasl.SetPassword(path, "anne", "pw"); err != nil {
		t.Fatal(err)
	}
	load := func(text string) (sasl.Options, []string, error) {
		conf, err := imapconf.Parse("c", "configdirectory: /x\nbackup_credentials_path: "+path+"\n"+text, "backupd")
		if err != nil {
			t.Fatal(err)
		}
		return saslconf.Options(conf)
	}
	opt, warnings, err := load("admins: anne\nallowplaintext: 1\nsasl_mech_list: plain gssapi scram-sha-256\nsasl_pwcheck_method: saslauthd auxprop\nsasl_saslauthd_path: /s\nvirtdomains: userid\ndefaultdomain: example.com\n")
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "c:5: sasl_mech_list: GSSAPI") {
		t.Errorf("%q %v", warnings, err)
	}
	if len(opt.Passwords) != 2 || opt.Passwords[0].(*sasl.Saslauthd).Path != "/s" || opt.Admins.Groups == nil {
		t.Errorf("%+v", opt)
	}
	a, err := sasl.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Mechanisms(sasl.Layer{}); !slices.Equal(got, []string{sasl.ScramSHA256, sasl.Plain}) {
		t.Errorf("%q", got)
	}
	x, err := a.Start("PLAIN", sasl.Layer{})
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := x.Next(t.Context(), []byte("\x00Anne@Example.COM\x00pw")); err != nil || !done || !x.Identity().Admin || x.Identity().User != "anne" {
		t.Errorf("%+v %v", x.Identity(), err)
	}
	if _, _, err := load("sasl_pwcheck_method: pwcheck\n"); err == nil || err.Error() != `c:3: sasl_pwcheck_method: "pwcheck" is not known; allowed: auxprop, saslauthd` {
		t.Error(err)
	}
	if _, warnings, _ := load("backup_control_socket: /x\n"); len(warnings) != 1 || !strings.Contains(warnings[0], "admins is not set") {
		t.Errorf("%q", warnings)
	}
}
