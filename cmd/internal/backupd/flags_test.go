package backupd

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseOptions(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	plain := options{config: "/etc/imapd.conf", idle: time.Minute}
	with := func(change func(*options)) options { o := plain; change(&o); return o }
	tests := []struct {
		args []string
		want options
	}{
		{nil, plain},
		{[]string{"-U5"}, with(func(o *options) { o.uses = 5 })},
		{[]string{"-U", "5", "-T0"}, with(func(o *options) { o.uses, o.idle = 5, 0 })},
		{[]string{"-C/x", "-T", "90"}, with(func(o *options) { o.config, o.idle = "/x", 90*time.Second })},
		{[]string{"-C", "x"}, with(func(o *options) { o.config = filepath.Join(here, "x") })},
		{[]string{"-DsN", "-p", "128"}, with(func(o *options) { o.debug, o.tls, o.noAuth, o.ssf = true, true, true, 128 })},
		{[]string{"-sp71"}, with(func(o *options) { o.tls, o.ssf = true, 71 })},
	}
	for _, tt := range tests {
		got, done, err := parseOptions(t.Context(), tt.args, nil)
		if err != nil || done || got != tt.want {
			t.Errorf("%v: %+v, %v; want %+v", tt.args, got, err, tt.want)
		}
	}
	for _, bad := range [][]string{{"-q"}, {"-U"}, {"-Ux"}, {"-p", "-1"}, {"-T", "9999999999"}, {"-s", "x"}} {
		if o, _, err := parseOptions(t.Context(), bad, nil); err == nil {
			t.Errorf("%v: %+v", bad, o)
		}
	}
}

func TestDebugCommand(t *testing.T) {
	for format, want := range map[string]string{
		"gdb /usr/cyrus/bin/%s %d": "gdb /usr/cyrus/bin/backupd 7",
		"x %s %d %s 100%%":         "x backupd 7 csync 100%",
		"strace -p %2$d -o %3$s":   "strace -p 7 -o csync",
		"true":                     "true",
	} {
		if got, err := debugCommand(format, "backupd", 7, "csync"); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", format, got, err, want)
		}
	}
	for _, bad := range []string{"%d", "%s %s", "%s %d %s %s", "%n", "%", "%4$s", "%1$d"} {
		if got, err := debugCommand(bad, "backupd", 7, "csync"); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}
