package doctor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// give gives everything on the host to its user.
func (h *host) give() {
	h.t.Helper()
	a := lookUp(h.user)
	h.must(a.Err)
	h.must(filepath.WalkDir(h.root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, a.UID, a.GID)
	}))
}

// examine runs the checks like ctl_backups doctor as root.
func (h *host) examine() []Finding {
	h.t.Helper()
	found, err := Examiner{Options: h.options(), Sources: Sources{Proc: h.path("proc"), Default: h.path("default"), Shell: os.Environ()},
		Command: []string{"ctl_backups", "doctor", "--ndjson"}}.Examine(h.t.Context())
	h.must(err)
	return found
}

// As root, the checks run as the daemon's user: each file that this user cannot use has exactly one
// finding. They change nothing, also on an empty host.
func TestFilesOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can check as another user")
	}
	root := func(name string, mode os.FileMode) func(*host) {
		return func(h *host) {
			h.must(os.Lchown(h.path(name), 0, 0))
			h.must(os.Chmod(h.path(name), mode))
		}
	}
	programs := readablePrograms(t)
	for name, c := range map[string]struct {
		before, plant func(*host)
		want
	}{
		"healthy":           {},
		"imapd.conf":        {plant: root("imapd.conf", 0o600), want: want{Error, "imapd.conf", "imapd.conf", "cannot read", "chmod 640"}},
		"cyrus.conf":        {plant: root("cyrus.conf", 0o600), want: want{Error, "master", "cyrus.conf", "permission denied", "chmod a+r"}},
		"key":               {plant: root("key.pem", 0o600), want: want{Error, "tls", "imapd.conf:6", "permission denied", "chgrp"}},
		"passwords":         {plant: root("conf/backup-credentials.db", 0o600), want: want{Error, "login", "backup-credentials.db", "permission denied", "chown nobody"}},
		"configdirectory":   {before: (*host).movePasswords, plant: root("conf", 0o755), want: want{Error, "directories", "conf", "cannot use it", "chown -R nobody"}},
		"spool":             {plant: root("spool", 0o700), want: want{Error, "partition default", "spool", "cannot use it", "chown -R nobody"}},
		"file in spool":     {plant: root("spool/.objstore/lock", 0o600), want: want{Error, "partition default", "spool/.objstore/lock", "cannot use it", "chown -R nobody"}},
		"no spool":          {before: func(h *host) { h.must(os.RemoveAll(h.path("spool"))); h.set("temp_path", "/tmp") }, plant: root(".", 0o755), want: want{Error, "partition default", "imapd.conf:9", "cannot make it", "install -d -o nobody"}},
		"index":             {before: func(h *host) { h.must(os.Mkdir(h.path("conf/backup-index"), 0o700)) }, plant: root("conf/backup-index", 0o700), want: want{Error, "index", "backup-index", "cannot use it", "chown -R nobody"}},
		"set aside by root": {before: func(h *host) { h.must(os.Mkdir(h.path("conf/backup-index.damaged"), 0o700)) }, plant: root("conf/backup-index.damaged", 0o700), want: want{Error, "index", "backup-index.damaged", "cannot use it", "chown -R nobody"}},
		"keys": {before: func(h *host) {
			h.write("keys", "[default]\n", 0o600)
			h.set("backup_credentials_file", h.path("keys"))
		}, plant: root("keys", 0o600), want: want{Error, "options", "keys", "cannot read", "chown nobody"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			for _, name := range []string{"backupd", "ctl_backups"} {
				h.cyrusLine(h.path(name), filepath.Join(programs, name))
			}
			if c.before != nil {
				c.before(h)
			}
			h.prepare()
			h.give()
			if c.plant != nil {
				c.plant(h)
			}
			files := h.files()
			got := h.examine()
			if c.plant == nil {
				if bad := faults(got); len(bad) > 0 {
					t.Errorf("%s", table(bad))
				}
			} else {
				expect(t, faults(got), c.want)
			}
			if now := h.files(); !slices.Equal(files, now) {
				t.Errorf("files %q, were %q", now, files)
			}
		})
	}
}

// readablePrograms returns a directory with programs that every user can run.
func readablePrograms(t *testing.T) string {
	h := newHost(t)
	self, err := os.Executable()
	h.must(err)
	b, err := os.ReadFile(self)
	h.must(err)
	for _, name := range []string{"backupd", "ctl_backups"} {
		h.must(os.Remove(h.path(name)))
	}
	h.write("backupd", string(b), 0o755)
	h.must(os.Symlink("backupd", h.path("ctl_backups")))
	return h.root
}

// movePasswords puts the passwords outside of configdirectory.
func (h *host) movePasswords() {
	h.must(os.Rename(h.path("conf/backup-credentials.db"), h.path("passwords")))
	h.set("backup_credentials_path", h.path("passwords"))
	h.set("temp_path", "/tmp")
}

// files describes all files of the host.
func (h *host) files() (all []string) {
	h.t.Helper()
	h.must(filepath.WalkDir(h.root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%T", info.Sys())
		}
		all = append(all, fmt.Sprint(path, info.Mode(), st.Uid, st.Gid))
		return nil
	}))
	return all
}

// On an empty host the checks find what is missing, and make nothing.
func TestEmptyHost(t *testing.T) {
	h := newHost(t)
	h.must(os.RemoveAll(h.path("spool")))
	h.must(os.RemoveAll(h.path("conf")))
	h.cyrus = ""
	h.prepare()
	if os.Geteuid() == 0 {
		h.give()
	}
	files := h.files()
	got := faults(h.examine())
	if Worst(got) != Error || !slices.ContainsFunc(got, func(f Finding) bool { return f.Check == "directories" }) {
		t.Errorf("%s", table(got))
	}
	if now := h.files(); !slices.Equal(files, now) {
		t.Errorf("files %q, were %q", now, files)
	}
}

// The environment is that of a running backupd, then that of master, then a file.
func TestGather(t *testing.T) {
	h := newHost(t)
	process := func(pid, name, cmdline string) {
		h.must(os.MkdirAll(h.path("proc/"+pid), 0o755))
		h.write("proc/"+pid+"/comm", name+"\n", 0o644)
		h.write("proc/"+pid+"/cmdline", cmdline, 0o644)
		h.write("proc/"+pid+"/environ", "A="+pid+"\x00B=\x00", 0o644)
		h.write("proc/"+pid+"/limits", "Limit Soft Hard\nMax open files            "+pid+"00   4096   files\n", 0o644)
	}
	gather := func() Facts {
		return Gather(Sources{Proc: h.path("proc"), Default: h.path("default"), Shell: []string{"AWS_PROFILE=x", "MINIO_ROOT_USER=", "HOME=/"}})
	}
	if f := gather(); f.Source != "" || f.Env != nil || !slices.Equal(f.Shell, []string{"AWS_PROFILE"}) {
		t.Errorf("%+v", f)
	}
	h.write("default", "# comment\nexport AWS_ACCESS_KEY_ID=\"a\"\nCYRUS_VERBOSE=0\n", 0o644)
	if f := gather(); f.Source != h.path("default") || !slices.Contains(f.Env, "AWS_ACCESS_KEY_ID=a") {
		t.Errorf("%+v", f)
	}
	process("5", "master", "/usr/lib/postfix/sbin/master\x00-w")
	process("6", "cyrmaster", "/usr/sbin/cyrmaster")
	h.write("proc/meminfo", "MemTotal:       1024 kB\n", 0o644)
	if f := gather(); f.Source != "process 6 (master)" || !slices.Equal(f.Env, []string{"A=6", "B="}) || f.Files != 0 || f.Memory != 1<<20 {
		t.Errorf("%+v", f)
	}
	process("7", "backupd", "backupd")
	if f := gather(); f.Source != "process 7 (backupd)" || f.Daemon != 7 || f.Files != 700 {
		t.Errorf("%+v", f)
	}
}

func TestClient(t *testing.T) {
	h := newHost(t)
	h.cyrusLine(`listen="2005"`, `listen="192.0.2.1:2010"`)
	h.prepare()
	conf, err := imapconf.Load(h.path("imapd.conf"), "backupd")
	h.must(err)
	var b bytes.Buffer
	h.must(Client(&b, conf, h.path("cyrus.conf")))
	for _, line := range []string{"backup_sync_host: backup.example.com", "backup_sync_port: 2010", "backup_sync_authname: repl", "sync_log_channels: backup", `  backupsync  cmd="sync_client -r -n backup"`, `  syncserver  cmd="sync_server" listen="csync"`} {
		if !strings.Contains(b.String(), "\n"+line+"\n") {
			t.Errorf("%q is not in\n%s", line, &b)
		}
	}
	if strings.Contains(b.String(), "clear text") || strings.Contains(b.String(), "tls_required") {
		t.Errorf("a remark about TLS in\n%s", &b)
	}
}

func TestPrint(t *testing.T) {
	all := []Finding{{Level: OK, Check: "tls", Text: "fine"}, {Level: Warning, Check: "index", Where: "/x", Text: "a\tb\nc", Fix: "do it"}}
	want := "LEVEL    CHECK  WHERE  FINDING\n" +
		"ok       tls    -      fine\n" +
		"warning  index  /x     a b; c\n" +
		"                       → do it\n" +
		"\n0 errors, 1 warning, 1 ok\n"
	if got := table(all); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var b bytes.Buffer
	if err := PrintJSON(&b, all, false); err != nil || !strings.Contains(b.String(), `"level": "warning",`) || !strings.Contains(b.String(), `"warnings": 1,`) {
		t.Errorf("%v, %s", err, &b)
	}
}
