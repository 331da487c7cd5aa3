package imapconf

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

const dir = "configdirectory: /var/lib/cyrus\n"

func parse(t *testing.T, text string) *File {
	t.Helper()
	f, err := Parse("imapd.conf", dir+text, "backupd")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSyntax(t *testing.T) {
	f := parse(t, "# comment \\\nsyslog_prefix: hidden, for comments continue\n"+
		"  ServerName:\tmail.example.com  \r\n"+
		"\n   \n"+
		"admins: anne \\\n   bert\\\n cyrus\n"+
		"defaultdomain:#x # y\n"+
		"sync_host: last\\")
	for option, want := range map[string]string{
		"servername": "mail.example.com", "admins": "anne    bert cyrus", "defaultdomain": "#x # y",
		"syslog_prefix": "", "sync_host": `last\`,
	} {
		if got := f.String(option); got != want {
			t.Errorf("%s = %q, want %q", option, got, want)
		}
	}
	if got := f.Words("admins"); !slices.Equal(got, []string{"anne", "bert", "cyrus"}) {
		t.Errorf("admins %q", got)
	}
	if got := f.Origin("admins").String(); got != "imapd.conf:9" {
		t.Errorf("origin %s", got)
	}
	if got := f.Origin("sync_port").String(); got != "default" {
		t.Errorf("origin %s", got)
	}
}

// A backslash at the very end of a file keeps its line.
func TestContinuedAtEnd(t *testing.T) {
	f := parse(t, "sync_host: last\\\n")
	if got := f.String("sync_host"); got != "last" {
		t.Errorf("sync_host %q", got)
	}
}

func TestTypedDefaults(t *testing.T) {
	f := parse(t, "")
	if got := f.Duration("sync_timeout"); got != 30*time.Minute {
		t.Errorf("sync_timeout %v", got)
	}
	if got := f.Duration("backup_retention"); got != 0 {
		t.Errorf("backup_retention %v: nobody has decided that old mail is deleted", got)
	}
	if got := f.Size("backup_pack_size"); got != 12<<20 {
		t.Errorf("backup_pack_size %v", got)
	}
	if f.Int("backup_pack_buffers") != 3 || f.Word("backup_offer_compress") != "auto" || f.Switch("backup_exclusive") || !f.Switch("username_tolower") {
		t.Error("wrong default")
	}
	for option, want := range map[string]string{
		"backup_index_path":     "/var/lib/cyrus/backup-index",
		"backup_control_socket": "/var/lib/cyrus/socket/backupd-control",
		"proc_path":             "/var/lib/cyrus/proc",
		"backup_staging_path":   "/tmp/backup",
	} {
		if got := f.String(option); got != want {
			t.Errorf("%s = %q, want %q", option, got, want)
		}
	}
	if f.IsSet("sync_timeout") || !f.IsSet("configdirectory") {
		t.Error("IsSet")
	}
}

func TestConfigDirectory(t *testing.T) {
	f := parse(t, "backup_index_path: {ConfigDirectory}/here\ntemp_path: /x\nbackuppartition-a: {configdirectory}/b\nproc_path: /p/{configdirectory}\n")
	if got := f.String("backup_index_path"); got != "/var/lib/cyrus/here" {
		t.Errorf("backup_index_path %q", got)
	}
	if got := f.String("backup_staging_path"); got != "/x/backup" {
		t.Errorf("backup_staging_path %q", got)
	}
	if got := f.String("proc_path"); got != "/p/{configdirectory}" {
		t.Errorf("proc_path %q", got)
	}
	// As in Cyrus, {configdirectory} is replaced only in options of the table.
	if got, _ := f.Lookup("backuppartition-a"); got != "{configdirectory}/b" {
		t.Errorf("partition %q", got)
	}
}

func TestServicePrefix(t *testing.T) {
	const service, plain = "backupd_sync_timeout: 1m\n", "sync_timeout: 2m\n"
	for _, text := range []string{service + plain, plain + service} {
		f := parse(t, text)
		if got := f.Duration("sync_timeout"); got != time.Minute {
			t.Errorf("%q: %v", text, got)
		}
		if got := f.Origin("sync_timeout").Key; got != "backupd_sync_timeout" {
			t.Errorf("key %s", got)
		}
	}
	f := parse(t, plain+"imap_sync_timeout: what it likes\nBackupD_sasl_foo: ours\nsasl_foo: all\n")
	if got := f.Duration("sync_timeout"); got != 2*time.Minute {
		t.Errorf("sync_timeout %v", got)
	}
	if got, _ := f.Lookup("sasl_FOO"); got != "ours" {
		t.Errorf("sasl_foo %q", got)
	}
	// A service name that is the prefix of an option does not hide the option.
	f, err := Parse("x", dir+"backup_retention: 3\n", "backup")
	if err != nil || f.Duration("backup_retention") != 72*time.Hour {
		t.Errorf("backup_retention: %v", err)
	}
}

func TestUnknownKeys(t *testing.T) {
	f := parse(t, "backuppartition-b: /b\nbackuppartition-A: /a\nch1_sync_host: h1\nsync_host: h\nwhatever: 1\n")
	if got := f.Keys("backuppartition-"); !slices.Equal(got, []string{"backuppartition-a", "backuppartition-b"}) {
		t.Errorf("keys %q", got)
	}
	if f.Channel("ch1", "sync_host") != "h1" || f.Channel("ch2", "sync_host") != "h" || f.Channel("", "sync_host") != "h" {
		t.Error("channel")
	}
	if _, ok := f.Lookup("nothing"); ok {
		t.Error("found nothing")
	}
	if err := f.Errorf("backuppartition-b", "no such bucket"); err.Error() != "imapd.conf:2: backuppartition-b: no such bucket" {
		t.Error(err)
	}
	if err := f.Errorf("sync_port", "no such service"); err.Error() != "sync_port: no such service" {
		t.Error(err)
	}
}

func TestDeprecated(t *testing.T) {
	f := parse(t, "backup_retention_days: 3\n")
	if f.Duration("backup_retention") != 72*time.Hour || len(f.Warnings()) != 1 {
		t.Errorf("%v %q", f.Duration("backup_retention"), f.Warnings())
	}
	if got := f.Origin("backup_retention").String(); got != "imapd.conf:2" {
		t.Errorf("origin %s", got)
	}
	f = parse(t, "backup_retention_days: 3\nbackup_retention: 1h\n")
	if f.Duration("backup_retention") != time.Hour {
		t.Error("the old name overrides the new one")
	}
}

func TestErrors(t *testing.T) {
	tests := []struct{ text, want string }{
		{dir + "a: 1\na: 2", `c:3: a: is set a second time; first at c:2`},
		{dir + "debug: 1\ndebug: 1", `c:3: debug: is set a second time; first at c:2`},
		{dir + "backupd_debug: 1\nbackupd_debug: 1", `c:3: backupd_debug: is set a second time; first at c:2`},
		{dir + "a:", `c:2: a: no value`},
		{dir + "a b: 1", `c:2: "a": no ":" right after the option's name (letters, digits, _ and -)`},
		{dir + "a : secret", `c:2: "a": no ":" right after the option's name (letters, digits, _ and -)`},
		{dir + ": 1", `c:2: no such directive; there is only @include`},
		{dir + "@if: 1", `c:2: @if: no such directive; there is only @include`},
		{dir + "@include: c", `c:2: @include: file c is included twice`},
		{dir + "@include: d", `c:2: @include: open configuration file: d: file does not exist`},
		{dir + "a: x\x00y", `c:2: a NUL byte in the line`},
		{"debug: 1", `configdirectory: is not set in c`},
		{"configdirectory: x", `c:1: configdirectory: "x": wrong directory; allowed: an absolute path other than /`},
		{"configdirectory: /", `c:1: configdirectory: "/": wrong directory; allowed: an absolute path other than /`},
		{dir + "debug: maybe\nbackupd_sync_timeout: 5w\n\ntcp_keepalive_cnt: many\nvirtdomains: some\nbackup_pack_size: 99M",
			`c:2: debug: "maybe": neither yes nor no; allowed: yes, no, on, off, true, false, t, f, 1, 0` + "\n" +
				`c:3: backupd_sync_timeout: "5w": bad unit 'w'; allowed: a number with d, h, m or s, such as 1h30m (without a unit: s)` + "\n" +
				`c:5: tcp_keepalive_cnt: "many": not a number; allowed: a whole number` + "\n" +
				`c:6: virtdomains: "some": not one of the allowed words; allowed: off, userid, on` + "\n" +
				`c:7: backup_pack_size: "99M": too large; allowed: a number with K, M or G, such as 12M (without a unit: B), from 8M to 16M`},
	}
	for _, tt := range tests {
		f, err := Parse("c", tt.text, "backupd")
		if err == nil || err.Error() != tt.want || f != nil {
			t.Errorf("%q:\n got %v\nwant %s", tt.text, err, tt.want)
		}
		if e := (*Error)(nil); !errors.As(err, &e) {
			t.Errorf("%q: no *Error", tt.text)
		}
	}
}

func TestInclude(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sub := write("sub.conf", "debug: yes\nmaxword: x\n")
	main := write("main.conf", dir+"@include: "+sub+"\nsync_timeout: 9\n")
	if _, err := Load(main, "backupd"); err == nil || !strings.HasPrefix(err.Error(), sub+":2: maxword") {
		t.Errorf("fault in an included file: %v", err)
	}
	write("sub.conf", "debug: yes\n")
	f, err := Load(main, "backupd")
	if err != nil || !f.Switch("debug") || f.Duration("sync_timeout") != 9*time.Second || f.Path() != main || f.Service() != "backupd" {
		t.Errorf("load: %v", err)
	}
	write("sub.conf", "@include: "+main+"\n")
	if _, err := Load(main, "backupd"); err == nil || !strings.Contains(err.Error(), "included twice") {
		t.Errorf("cycle: %v", err)
	}

	// CYRUS_PREFIX is tried first, for each file.
	write("sub.conf", "debug: yes\n")
	write("prefix"+sub, "debug: no\n")
	t.Setenv("CYRUS_PREFIX", filepath.Join(root, "prefix"))
	if f, err = Load(main, "backupd"); err != nil || f.Switch("debug") {
		t.Errorf("prefix: %v", err)
	}
	if _, err := Load(filepath.Join(root, "none"), ""); !strings.Contains(err.Error(), "no such file") {
		t.Errorf("absent: %v", err)
	}
}

func TestServerName(t *testing.T) {
	if name, err := parse(t, "servername: a.example\n").ServerName(); name != "a.example" || err != nil {
		t.Errorf("%s %v", name, err)
	}
	if name, err := parse(t, "").ServerName(); name == "" || err != nil {
		t.Errorf("%q %v", name, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(dir+"a: b\\\n c\n#x\nsync_timeout: 1h30m\nbackup_pack_size: 9 MiB\n", "backupd")
	f.Add(dir+"@include: c\nbackupd_debug: yes\ndebug:no\nx\x00: y\n", "BackupD")
	f.Add("configdirectory: {configdirectory}\nbackup_retention_days: -1\ntcp_keepalive_cnt: 0x10", "")
	f.Fuzz(func(t *testing.T, text, service string) {
		defer fuzztest.Limit(t, 8<<20+4<<10*int64(len(text)+len(service)))()
		conf, err := Parse("c", text, service)
		if (conf == nil) == (err == nil) {
			t.Fatalf("%v, %v", conf, err)
		}
		if err != nil {
			return
		}
		for _, o := range Options() {
			read(conf, o)
		}
	})
}

// read calls the getter for the option's type, which must not panic.
func read(f *File, o Option) {
	switch {
	case o.Family:
		f.Keys(o.Name)
	case o.Type == String:
		f.String(o.Name)
	case o.Type == Int:
		f.Int(o.Name)
	case o.Type == Switch:
		f.Switch(o.Name)
	case o.Type == Duration:
		f.Duration(o.Name)
	case o.Type == Size:
		f.Size(o.Name)
	default:
		f.Word(o.Name)
	}
}
