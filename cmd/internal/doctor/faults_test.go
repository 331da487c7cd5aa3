package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHealthyHost(t *testing.T) {
	h := newHost(t)
	h.prepare()
	if bad := h.run(); len(bad) > 0 {
		t.Errorf("a healthy host:\n%s", table(bad))
	}
}

// Each fault of imapd.conf, of certificates and of directories has exactly one finding.
func TestFaults(t *testing.T) {
	const day = 24 * time.Hour
	set := func(option, value string) func(*host) { return func(h *host) { h.set(option, value) } }
	for name, c := range map[string]struct {
		plant func(*host)
		want
	}{
		"misspelt option":   {set("backup_comprssion", "better"), want{Warning, "imapd.conf", "imapd.conf:10", "backup_comprssion", "write backup_compression"}},
		"unknown option":    {set("backup_something_else", "x"), want{Warning, "imapd.conf", "imapd.conf:10", "unknown option", "remove"}},
		"old name":          {set("backup_retention_days", "30"), want{Warning, "imapd.conf", "imapd.conf:10", "old name", "write backup_retention"}},
		"wrong word":        {set("backup_compression", "best"), want{Error, "imapd.conf", "imapd.conf:10", `"best"`, "fastest"}},
		"option twice":      {func(h *host) { h.lines = append(h.lines, "admins: x") }, want{Error, "imapd.conf", "imapd.conf:10", "second time", "remove"}},
		"comment in value":  {set("syslog_prefix", "x # for the log"), want{Warning, "options", "imapd.conf:10", "comment", "syslog_prefix: x"}},
		"tripwire":          {set("backup_tripwire", "30 percent"), want{Error, "options", "imapd.conf:10", "backup_tripwire", "backup_tripwire: "}},
		"umask":             {set("umask", "99"), want{Error, "options", "imapd.conf:10", "octal", "umask: 077"}},
		"facility":          {set("syslog_facility", "MIAL"), want{Error, "options", "imapd.conf:10", "syslog_facility", "syslog_facility: "}},
		"idle retention":    {set("backup_keep_daily", "7"), want{Warning, "options", "imapd.conf:10", "no effect", "backup_retention: 30d"}},
		"outage wait":       {set("backup_outage_wait", "1h"), want{Warning, "options", "imapd.conf:10", "sync_timeout", "backup_outage_wait: 10m"}},
		"prices":            {set("backup_prices", "EUR storage=cheap"), want{Error, "options", "imapd.conf:10", `"cheap" is not a price`, "storage=0.02"}},
		"prices of nothing": {set("backup_prices", "0.02"), want{Error, "options", "imapd.conf:10", "begin with the currency", "EUR storage="}},
		"metrics file":      {set("backup_metrics_file", "/tmp/backupd.txt"), want{Error, "options", "imapd.conf:10", "/tmp/backupd.txt", "node-exporter/backupd.prom"}},
		"metrics":           {set("backup_metrics_listen", "9100"), want{Error, "options", "imapd.conf:10", "9100", "127.0.0.1:9100"}},
		"password for all":  {set("restore_password", "x"), want{Warning, "options", "imapd.conf:10", "every user", "chmod 640"}},
		"no seal key":       {set("backup_seal_key", "/nonexistent/seal.key"), want{Warning, "options", "imapd.conf:10", "no secret key", "seal --init-key"}},
		"seal key for all": {func(h *host) {
			h.write("conf/seal.key", "x", 0o644)
			h.set("backup_seal_key", h.path("conf/seal.key"))
		}, want{Error, "options", "seal.key", "others can use the key", "chmod 600"}},
		"passwords for all":  {func(h *host) { h.must(os.Chmod(h.path("conf/backup-credentials.db"), 0o644)) }, want{Error, "login", "backup-credentials.db", "mode 0644", "chmod 600"}},
		"no partition":       {func(h *host) { h.unset("backuppartition-default") }, want{Error, "partitions", "", "no backuppartition-NAME", "backuppartition-default: "}},
		"bad location":       {set("backuppartition-default", "s4://x"), want{Error, "partitions", "imapd.conf:9", "location must be", "/path"}},
		"equal locations":    {func(h *host) { h.set("backuppartition-b", h.path("spool")) }, want{Error, "partitions", "imapd.conf:9", "same location", "own location"}},
		"secret in location": {set("backuppartition-default", "s3://id:secret@bucket"), want{Error, "partitions", "imapd.conf:9", "must not contain credentials", "backup_credentials_file"}},
		"memory":             {func(h *host) { h.facts.Memory = 256 << 20 }, want{Warning, "memory", "", "more than half", "backup_memory_limit"}},
		"user":               {set("cyrus_user", "nobody-of-this-name"), want{Error, "user", "imapd.conf:2", "does not exist", "adduser"}},
		"no admins":          {func(h *host) { h.unset("admins") }, want{Error, "login", "imapd.conf", "admins is not set", "admins: repl"}},
		"no passwords":       {func(h *host) { h.must(os.Remove(h.path("conf/backup-credentials.db"))) }, want{Error, "login", "backup-credentials.db", "no user has a password", "passwd repl"}},
		"old passwords":      {func(h *host) { h.must(os.Remove(h.path("conf/backup-credentials.db"))); h.write("sasldb2", "x", 0o600) }, want{Error, "login", "backup-credentials.db", "no user has a password", "passwd --import "}},
		"admin without one":  {set("admins", "other"), want{Error, "login", "imapd.conf:4", "no password is set for other", "passwd other"}},
		"broken passwords":   {func(h *host) { h.write("conf/backup-credentials.db", "x", 0o600) }, want{Error, "login", "backup-credentials.db", "cannot be read", "passwd"}},
		"saslauthd":          {func(h *host) { h.set("sasl_pwcheck_method", "saslauthd"); h.set("sasl_saslauthd_path", h.path("mux")) }, want{Error, "login", "mux", "cannot be reached", "saslauthd"}},
		"password method":    {set("sasl_pwcheck_method", "pam"), want{Error, "login", "imapd.conf:10", `"pam"`, "auxprop"}},
		"mechanism":          {set("sasl_mech_list", "GSSAPI"), want{Warning, "login", "imapd.conf:10", "GSSAPI", "SCRAM-SHA-256"}},
		"no scopes":          {set("backup_scopes", "/no/scopes"), want{Error, "login", "imapd.conf:10", "/no/scopes", "correct /no/scopes"}},
		"mistake in scopes":  {scopesFile("repl\n"), want{Error, "login", "imapd.conf:10", "scopes:1: login repl has no users", "correct "}},
		"no scope":           {scopesFile("%UNIX * %SHARED\n"), want{Warning, "login", "scopes", "login repl has no line", "repl * %SHARED"}},
		"capital letters":    {func(h *host) { scopesFile("REPL *\nmail2 anne\n")(h); h.set("admins", "Repl") }, want{Warning, "login", "scopes", "mail2 has a line and is not in admins", "admins: repl mail2"}},
		"unknown login":      {scopesFile("repl *\nmail2 anne\n"), want{Warning, "login", "scopes", "mail2 has a line and is not in admins", "admins: repl mail2"}},
		"layer":              {set("sasl_minimum_layer", "1000"), want{Error, "login", "", "no mechanism", "SCRAM"}},
		"no TLS":             {func(h *host) { h.unset("tls_server_cert"); h.unset("tls_server_key") }, want{Warning, "tls", "imapd.conf", "clear text", "tls_server_cert"}},
		"TLS not required":   {set("tls_required", "no"), want{Warning, "tls", "imapd.conf:5", "not required", "tls_required: yes"}},
		"no STARTTLS":        {set("allowstarttls", "no"), want{Error, "tls", "imapd.conf:10", "allowstarttls is off", "allowstarttls: yes"}},
		"no certificate":     {func(h *host) { h.set("tls_server_cert", h.path("none.pem")) }, want{Error, "tls", "imapd.conf:5", "none.pem", "tls_server_cert"}},
		"wrong key":          {func(h *host) { h.cert.wrongKey = true }, want{Error, "tls", "imapd.conf:6", "does not match", "key"}},
		"expired":            {func(h *host) { h.cert.from, h.cert.to = now.Add(-2*day), now.Add(-day) }, want{Error, "tls", "imapd.conf:5", "has expired", "renew"}},
		"expires soon":       {func(h *host) { h.cert.to = now.Add(5 * day) }, want{Warning, "tls", "imapd.conf:5", "expires at", "renew"}},
		"not yet valid":      {func(h *host) { h.cert.from = now.Add(day) }, want{Error, "tls", "imapd.conf:5", "valid only from", "clock"}},
		"order of the chain": {func(h *host) { h.cert.wrongNext = true }, want{Error, "tls", "imapd.conf:5", "not signed by", "first"}},
		"no configdirectory": {func(h *host) {
			h.set("configdirectory", h.path("none"))
			h.set("backup_credentials_path", h.path("conf/backup-credentials.db"))
		}, want{Error, "directories", "imapd.conf:1", "not a directory", "install -d"}},
		"socket directory": {func(h *host) { h.set("backup_control_socket", h.path("imapd.conf")+"/x/socket") }, want{Error, "directories", "", "not a directory", ""}},
		"damaged index": {func(h *host) {
			h.must(os.Mkdir(h.path("conf/backup-index"), 0o700))
			h.write("conf/backup-index/MANIFEST", "x", 0o600)
		}, want{Warning, "index", "backup-index", "cannot be opened", "rebuilds"}},
		"index in partition":  {func(h *host) { h.set("backup_index_path", h.path("spool/index")) }, want{Error, "partition default", "imapd.conf:10", "inside the partition", "backup_index_path"}},
		"open partition":      {func(h *host) { h.must(os.Chmod(h.path("spool"), 0o755)) }, want{Warning, "partition default", "spool", "look into it", "chmod 700"}},
		"no disk":             {func(h *host) { h.set("backuppartition-default", h.path("mnt/spool")) }, want{Error, "partition default", "imapd.conf:9", "does not exist", "mount"}},
		"partition is a file": {func(h *host) { h.set("backuppartition-default", h.path("cert.pem")) }, want{Error, "partition default", "imapd.conf:9", "not a directory", "chown"}},
		"nested partitions": {func(h *host) {
			h.set("backuppartition-inner", h.path("spool/inner"))
			h.must(os.Mkdir(h.path("spool/inner"), 0o700))
		}, want{Error, "partition inner", "imapd.conf:10", "is inside partition default", "beside"}},
		"mail on the same disk": {func(h *host) { h.set("partition-default", h.path("conf")) }, want{Warning, "partition default", "imapd.conf:9", "same file system", "another disk"}},
		"broken repository":     {func(h *host) { h.write("spool/repository.json", "{", 0o600) }, want{Error, "partition default", "spool", "repository.json", "verify"}},
		"no conditional puts": {func(h *host) {
			h.write("spool/repository.json", `{"version":1,"id":"a","capabilities":{"range":true,"suffix":true,"list_order":true,"if_match":true,"store_time":true,"notes":["if-absent: no"]}}`, 0o600)
		}, want{Error, "partition default", "spool", "conditional puts: if-absent: no", "backup_exclusive"}},
		"no ranges": {func(h *host) {
			h.write("spool/repository.json", `{"version":1,"id":"a","capabilities":{"if_absent":true,"if_absent_race":true}}`, 0o600)
		}, want{Error, "partition default", "spool", "not suitable", "another endpoint"}},
		"one repository twice": {func(h *host) {
			h.set("backuppartition-second", h.path("second"))
			h.must(os.Mkdir(h.path("second"), 0o700))
			for _, dir := range []string{"spool", "second"} {
				h.write(dir+"/repository.json", `{"version":1,"id":"a","capabilities":{"if_absent":true,"if_absent_race":true,"range":true,"suffix":true,"list_order":true,"if_match":true,"store_time":true}}`, 0o600)
			}
		}, want{Error, "partition second", "imapd.conf:10", "same repository as partition default", "own location"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			c.plant(h)
			h.prepare()
			expect(t, h.run(), c.want)
		})
	}
}

// Without imapd.conf, there is nothing to check.
func TestNoConfiguration(t *testing.T) {
	h := newHost(t)
	expect(t, h.run(), want{Error, "imapd.conf", "imapd.conf", "no such file", "-C FILE"})
}

// The disk of the index and that of the partition are one here, so each fault has two findings.
func TestDisk(t *testing.T) {
	for name, c := range map[string]struct {
		space Space
		level Level
		text  string
	}{
		"full":      {Space{Free: 1 << 20, Files: -1}, Error, "free"},
		"short":     {Space{Free: 300 << 20, Files: -1}, Warning, "only"},
		"no inodes": {Space{Free: 1 << 40}, Error, "inode"},
		"in memory": {Space{Free: 1 << 40, Files: -1, Memory: true}, Error, "in memory"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.space = c.space
			h.prepare()
			got := h.run()
			for _, f := range got {
				if f.Check == "partition default" {
					expect(t, []Finding{f}, want{c.level, f.Check, "spool", c.text, ""})
					return
				}
			}
			t.Errorf("no finding: %s", table(got))
		})
	}
}

// Each fault of cyrus.conf, and of the process that runs, has exactly one finding.
func TestMasterFaults(t *testing.T) {
	edit := func(old, text string) func(*host) { return func(h *host) { h.cyrusLine(old, text) } }
	for name, c := range map[string]struct {
		plant func(*host)
		want
	}{
		"no cyrus.conf": {func(h *host) { h.cyrus = "" }, want{Error, "master", "cyrus.conf", "no such file", "SERVICES { backupd"}},
		"no line":       {edit("  backupd", "  #backupd"), want{Error, "master", "cyrus.conf", "no line in SERVICES", "maxfds=2500"}},
		"in START": {func(h *host) {
			h.cyrusLine("START {\n", "START {\n  backupd cmd=\"/x/backupd\"\n")
			h.cyrusLine("  backupd  cmd", "  # backupd cmd")
		}, want{Error, "master", "cyrus.conf:2", "is in START", "SERVICES"}},
		"no path":    {func(h *host) { h.cyrusLine(h.path("backupd"), "backupd") }, want{Error, "master", "cyrus.conf:6", "whole path", "/backupd"}},
		"no program": {func(h *host) { h.cyrusLine(h.path("backupd"), "/nowhere/backupd") }, want{Error, "master", "cyrus.conf:6", "does not exist", "/backupd"}},
		"other program": {func(h *host) {
			h.must(os.Remove(h.path("backupd")))
			h.must(os.Symlink("/bin/true", h.path("backupd")))
		}, want{Error, "master", "cyrus.conf:6", "another program", "/backupd"}},
		"no listen":    {edit(`listen="2005"`, ""), want{Error, "master", "cyrus.conf:6", "no listen", `listen="2005"`}},
		"unknown port": {edit(`listen="2005"`, `listen="csinc"`), want{Error, "master", "cyrus.conf:6", "csinc", "/etc/services"}},
		"proto":        {edit(`listen="2005"`, `listen="2005" proto="udp"`), want{Error, "master", "cyrus.conf:6", "udp", "proto"}},
		"maxfds":       {edit("maxfds=2500", ""), want{Warning, "master", "cyrus.conf:6", "256 file descriptors", "maxfds=2500"}},
		"wrong maxfds": {edit("maxfds=2500", "maxfds=many"), want{Error, "master", "cyrus.conf:6", "not a number", "maxfds=2500"}},
		"other config": {edit(`backupd" listen`, `backupd -C /etc/other.conf" listen`), want{Warning, "master", "cyrus.conf:6", "/etc/other.conf", "-C /etc/other.conf"}},
		"port twice":   {edit(`listen="imap"`, `listen="2005"`), want{Error, "master", "cyrus.conf:6", "same address as imap", "another port"}},
		"quotation":    {edit(`prefork=0 maxfds=2500`, `prefork="0`), want{Error, "master", "cyrus.conf:6", "has no end", "cyrus.conf(5)"}},
		"two sections": {func(h *host) { h.cyrus += "SERVICES {\n}\n" }, want{Error, "master", "cyrus.conf:11", "second section SERVICES", "first section"}},
		"few files":    {func(h *host) { h.facts.Daemon, h.facts.Files = 7, 128 }, want{Warning, "master", "process 7", "128 files", "LimitNOFILE"}},
		"no compact":   {edit("  compact  cmd", "  #"), want{Warning, "compact", "cyrus.conf", "no line in EVENTS", "EVENTS { compact"}},
		"compact -A":   {edit("compact -A", "compact anne"), want{Warning, "compact", "cyrus.conf:9", "without -A", "-A"}},
		"compact path": {func(h *host) { h.cyrusLine(h.path("ctl_backups"), "ctl_backups") }, want{Error, "compact", "cyrus.conf:9", "whole path", "/ctl_backups"}},
		"compact twice": {func(h *host) {
			h.cyrusLine("EVENTS {\n", "EVENTS {\n  again cmd=\""+h.path("ctl_backups")+" compact --all\" at=1600\n")
		}, want{Warning, "compact", "cyrus.conf:10", "started in 2 places", "all but one"}},
		"compact in cron": {func(h *host) { h.facts.Jobs = []Job{{"/etc/crontab:7", []string{"compact", "-A"}}} },
			want{Warning, "compact", "cyrus.conf:9", "compact -A is started in 2 places: /etc/crontab:7, ", "all but one"}},
		"part in cron": {func(h *host) { h.facts.Jobs = []Job{{"/etc/crontab:7", []string{"compact", "anne"}}} },
			want{Warning, "compact", "/etc/crontab:7", "without -A", "compact -A"}},
		"compact in a timer": {func(h *host) { h.timer("night") }, want{Warning, "compact", "cyrus.conf:9", "started in 2 places: night.timer, ", "all but one"}},
		"compact once":       {func(h *host) { h.cyrusLine("START {\n}\n", ""); h.cyrusLine("EVENTS {", "START {") }, want{Error, "compact", "cyrus.conf:7", "is in START", "EVENTS"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			c.plant(h)
			h.prepare()
			expect(t, h.run(), c.want)
		})
	}
}

// timer enables a timer whose service compacts.
func (h *host) timer(name string) {
	h.must(os.MkdirAll(h.path("systemd/timers.target.wants"), 0o755))
	h.write("systemd/other.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'ctl_backups compact -A'\n", 0o644)
	h.write("systemd/"+name+".timer", "[Timer]\nOnCalendar=daily\nUnit=other.service\n", 0o644)
	h.must(os.Symlink(h.path("systemd/"+name+".timer"), h.path("systemd/timers.target.wants/"+name+".timer")))
}

// The lines of cron that compact are found in the files that cron reads.
func TestJobs(t *testing.T) {
	h := newHost(t)
	for name, text := range map[string]string{
		"crontab":             "SHELL=/bin/sh\n# 0 4 * * * cyrus ctl_backups compact -A\n0 4 * * * cyrus /usr/local/sbin/ctl_backups compact -A >/dev/null\n0 5 * * * cyrus ctl_backups compact -n -A\n0 6 * * * root ctl_backups status\n",
		"cron.d/backup":       "\n0 4 * * * cyrus cd / && ctl_backups compact -D example.org\n",
		"cron.d/backup.old":   "0 4 * * * cyrus ctl_backups compact -A\n",
		"cron.daily/backup":   "#!/bin/sh\nsu cyrus -c 'ctl_backups compact -A'\n",
		"cron.daily/disabled": "#!/bin/sh\nctl_backups compact -A\n",
		"crontabs/an.admin":   "0 4 * * * ctl_backups compact -A\n",
	} {
		h.must(os.MkdirAll(filepath.Dir(h.path(name)), 0o755))
		mode := os.FileMode(0o755)
		if strings.HasSuffix(name, "disabled") {
			mode = 0o644
		}
		h.write(name, text, mode)
	}
	var got []string
	for _, j := range jobs([]string{h.path("crontab"), h.path("cron.d/*"), h.path("cron.daily/*"), h.path("crontabs/*"), h.path("none/*")}) {
		got = append(got, strings.TrimPrefix(j.Where, h.root+"/")+" "+strings.Join(j.Args, " "))
	}
	want := []string{"crontab:3 compact -A >/dev/null", "cron.d/backup:2 compact -D example.org", "cron.daily/backup:2 compact -A", "crontabs/an.admin:1 compact -A"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// With the units of systemd, cyrus.conf needs no lines.
func TestUnits(t *testing.T) {
	h := newHost(t)
	h.cyrus = ""
	for _, link := range []string{"sockets.target.wants/cyrus-backupd.socket", "timers.target.wants/cyrus-backupd-compact.timer"} {
		h.must(os.MkdirAll(h.path("systemd/"+link), 0o755))
	}
	h.prepare()
	if bad := h.run(); len(bad) > 0 {
		t.Errorf("%s", table(bad))
	}
}

// scopesFile sets backup_scopes to a file with these lines.
func scopesFile(lines string) func(*host) {
	return func(h *host) {
		h.write("scopes", lines, 0o644)
		h.set("backup_scopes", h.path("scopes"))
	}
}
