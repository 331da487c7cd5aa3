package ctlbackups

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// dumped writes a dump of db_dump with these keys and values, whose parts a space separates.
func dumped(records ...string) string {
	var b strings.Builder
	b.WriteString("VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n")
	for _, r := range records {
		f := strings.SplitN(r, " ", 4)
		fmt.Fprintf(&b, " %x\n %x\n", strings.Join(f[:3], "\x00"), f[3])
	}
	b.WriteString("DATA=END\n")
	return b.String()
}

// importer is a backup host with admins, and a directory with files to import.
type importer struct {
	*testing.T
	w           *tooltest.World
	credentials string
}

func newImporter(t *testing.T) *importer {
	w := tooltest.New(t, "default")
	i := &importer{t, w, filepath.Join(w.Dir, "credentials.db")}
	w.Bucket("backup_credentials_path: " + i.credentials + "\nservername: backup.example.com\nvirtdomains: off\n" +
		"admins: repl other hashed strange repl@realm.example\nloginrealms: realm.example\n")
	return i
}

func (i *importer) file(name, text string) string {
	i.Helper()
	path := filepath.Join(i.w.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		i.Fatal(err)
	}
	return path
}

// run returns what the command prints. It contains no password.
func (i *importer) run(stdin string, argv ...string) (out, complaint string) {
	i.Helper()
	var o, e bytes.Buffer
	c := &command{ctx: i.Context(), now: i.w.Now, clock: time.Now, in: strings.NewReader(stdin), out: &o, err: &e}
	if err := c.run(append([]string{"-C", filepath.Join(i.w.Dir, "imapd.conf"), "passwd"}, argv...)); err != nil {
		fmt.Fprint(&e, err)
	}
	if all := o.String() + e.String(); strings.Contains(all, "geheim") || strings.Contains(all, fmt.Sprintf("%x", "geheim")) {
		i.Errorf("%q prints a password: %s", argv, all)
	}
	return o.String(), e.String()
}

func (i *importer) expect(stdin string, argv []string, want, complaint string) {
	i.Helper()
	if out, errs := i.run(stdin, argv...); out != want || errs != complaint {
		i.Errorf("%q printed\n%s\nand %q, want\n%s\nand %q", argv, out, errs, want, complaint)
	}
}

func (i *importer) has(user, password string, want bool) {
	i.Helper()
	if got, err := sasl.OpenCredentials(i.credentials).CheckPassword(i.Context(), user, password); err != nil || got != want {
		i.Errorf("%s with %s: %v, %v", user, password, got, err)
	}
}

func TestPasswdImport(t *testing.T) {
	i := newImporter(t)
	all := dumped("anne backup.example.com userPassword geheim", "repl backup.example.com userPassword geheim 1", "repl realm.example userPassword geheim 2",
		"other old.example.com userPassword geheim 3", "hashed backup.example.com cmusaslsecretDIGEST-MD5 geheim", "hashed backup.example.com authPassword geheim",
		"strange backup.example.com userPassword geheim\x07", "an/ne backup.example.com userPassword geheim", "repl  userPassword geheim 4")
	const report = `user                        result    login              reason
an/ne@backup.example.com    skipped   -                  user name "an/ne": '/' is not allowed
anne@backup.example.com     skipped   anne               "anne" is not an admin
hashed@backup.example.com   skipped   hashed             it has only hashes (cmusaslsecretDIGEST-MD5, authPassword): set a password with ctl_backups passwd hashed
repl@backup.example.com     imported  repl               -
strange@backup.example.com  skipped   strange            password contains characters that programs encode differently (control characters, or letters that SASLprep changes)
repl@                       skipped   repl               repl@backup.example.com is the same login
other@old.example.com       skipped   -                  cross-realm login of "other@old.example.com"; --realm old.example.com makes it the login other
repl@realm.example          imported  repl@realm.example -
2 imported, 6 skipped
`
	out, errs := i.run(all, "--import", "-")
	if squeezed(out) != squeezed(report) || errs != "" {
		t.Errorf("%s and %q, want %s", out, errs, report)
	}
	i.has("repl", "geheim 1", true)
	i.has("repl@realm.example", "geheim 2", true)
	if users, err := sasl.Users(i.credentials); err != nil || len(users) != 2 {
		t.Errorf("%q, %v", users, err)
	}
	// The next one changes nothing but what it is asked to.
	changed := dumped("repl backup.example.com userPassword geheim 5", "repl realm.example userPassword geheim 2", "other backup.example.com userPassword geheim 3")
	i.expect(changed, []string{"--import", "-", "-n", "--ndjson"}, `{"user":"other","realm":"backup.example.com","login":"other","status":"would be imported"}
{"user":"repl","realm":"backup.example.com","login":"repl","status":"kept","reason":"the login has another password: --replace sets this one"}
{"user":"repl","realm":"realm.example","login":"repl@realm.example","status":"unchanged","reason":"the login has this password"}
`, "")
	i.has("other", "geheim 3", false)
	i.expect(changed, []string{"--import", "-", "--replace", "repl@backup.example.com"}, `user                     result    login  reason
repl@backup.example.com  replaced  repl   -
0 imported, 1 replaced
`, "")
	i.has("repl", "geheim 1", false)
	i.has("repl", "geheim 5", true)
	i.expect(changed, []string{"--import", "-", "--realm", "realm.example", "--replace", "-n", "repl"}, `user                     result             login  reason
repl@realm.example       would be replaced  repl   -
repl@backup.example.com  skipped            -      cross-realm login of "repl@backup.example.com"; --realm backup.example.com makes it the login repl
0 imported, 1 replaced, 1 skipped; nothing was changed
`, "reported")
}

// squeezed is a table without its widths.
func squeezed(s string) string {
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

// An import that gives nobody a login fails.
func TestPasswdImportsNothing(t *testing.T) {
	i := newImporter(t)
	anne := dumped("anne backup.example.com userPassword geheim")
	for _, c := range []struct {
		stdin string
		argv  []string
		want  string
	}{
		{anne, nil, "no user of - can log in here: see admins in imapd.conf; the realm of the logins is backup.example.com, and --realm changes it"},
		{anne, []string{"repl", "bob"}, "- has no user repl, bob"},
		{dumped(), nil, "- has no users"},
		{"geheim\n", nil, "read -: line 1: this is not a dump of db_dump, mdb_dump or gdbm_dump"},
		{strings.TrimSuffix(anne, "DATA=END\n"), nil, "read -: line 7: the dump is truncated"},
	} {
		if _, errs := i.run(c.stdin, append([]string{"--import", "-"}, c.argv...)...); errs != c.want {
			t.Errorf("%q: %s, want %s", c.argv, errs, c.want)
		}
		if _, err := os.Stat(i.credentials); err == nil {
			t.Errorf("%q has made the file of credentials", c.argv)
		}
	}
}

// A database is dumped by its tool. The tool is named if it is missing, and its complaint is printed.
func TestPasswdImportDatabase(t *testing.T) {
	i := newImporter(t)
	db := i.file("sasldb2", "\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x61\x15\x06\x00\x09\x00\x00\x00 geheim")
	tools := filepath.Join(i.w.Dir, "tools")
	if err := os.Mkdir(tools, 0o700); err != nil {
		t.Fatal(err)
	}
	usual := os.Getenv("PATH")
	t.Setenv("PATH", tools)
	missing := "it is a database (Berkeley DB), and db5.3_dump is missing: install it (db5.3-util in Debian, libdb-utils in Fedora and RHEL 8), or run this where it is installed: db5.3_dump " +
		db + " | ctl_backups passwd --import -"
	i.expect("", []string{"--import", db}, "", "read "+db+": "+missing)
	t.Setenv("PATH", tools+":"+usual)
	tool := func(script string) { i.file("tools/db5.3_dump", "#!/bin/sh\n"+script+"\n") }
	dump := i.file("dump", dumped("repl backup.example.com userPassword geheim"))
	if err := os.Chmod(dump, 0o644); err != nil {
		t.Fatal(err)
	}

	tool(`echo "$1: no such page" >&2; exit 3`)
	i.expectError(db, "db5.3_dump "+db+": exit status 3: "+db+": no such ")
	tool(`yes`)
	i.expectError(db, "read "+db+": line 1: this is not a dump of db_dump, mdb_dump or gdbm_dump")
	tool(`head -c 100 ` + dump)
	i.expectError(db, "the dump is truncated")
	tool(`test "$1" = ` + db + ` && cat ` + dump)
	imported := "user                     result    login  reason\nrepl@backup.example.com  imported  repl   -\n1 imported\n"
	i.expect("", []string{"--import", db}, imported, "")
	i.has("repl", "geheim", true)
	i.expect("", []string{"--import", db, "-n"}, `user                     result     login  reason
repl@backup.example.com  unchanged  repl   the login has this password
0 imported, 1 unchanged; nothing was changed
`, "")
	// A dump that is left there is a list of passwords.
	if _, errs := i.run("", "--import", dump); errs != "ctl_backups: "+dump+" has passwords, and everybody can read it: remove it\n" {
		t.Error(errs)
	}
	if _, errs := i.run("\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x61\x15\x06\x00\x09\x00\x00\x00", "--import", "-"); errs != "read -: it is a database, and not its dump (Berkeley DB): give the name of the file instead of -" {
		t.Error(errs)
	}
}

func (i *importer) expectError(db, want string) {
	i.Helper()
	if _, errs := i.run("", "--import", db); !strings.Contains(strings.ReplaceAll(errs, i.w.Dir+"/tools/", ""), want) {
		i.Errorf("%s, want %s", errs, want)
	}
}

// Options that the form of passwd would ignore are refused.
func TestPasswdImportOptions(t *testing.T) {
	i := newImporter(t)
	for _, argv := range [][]string{{"--replace", "repl"}, {"-n", "repl"}, {"--realm", "x", "repl"}, {"--import", "x", "--list"}, {"--import", "x", "--delete"},
		{"--import", ""}, {"--import", "x", "--realm", ""}, {"--import", "x", "-A"}, {"-j", "repl"}} {
		if out, errs := i.run("geheim\n", argv...); out != "" || !strings.Contains(errs, "--") && !strings.Contains(errs, "mode") {
			t.Errorf("%q: %s, %s", argv, out, errs)
		}
	}
}
