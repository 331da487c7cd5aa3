package restore

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/restore"
)

func TestParse(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	acl := func(o *options) string {
		if o.acl == nil {
			return "none"
		}
		return *o.acl
	}
	for _, c := range []struct {
		argv  string
		check func(o *options) bool
	}{
		{"srv anne user/anne", func(o *options) bool {
			return o.server == "srv" && o.backup == "anne" && slices.Equal(o.selection.Objects, []string{"user/anne"}) && !o.selection.LiveOnly
		}},
		{"srv -A", func(o *options) bool { return *o.chosen == chosenUsers{} && o.acl == nil && o.selection.All }},
		{"srv --all-users -Aanne\u00a0lrs", func(o *options) bool { return *o.chosen == chosenUsers{} && acl(o) == "anne\tlrs\t" }},
		{"srv -D example.org", func(o *options) bool { return o.chosen.Domain == "example.org" && !o.selection.KeepDeletedPrefix }},
		{"srv --prefix a -P fast", func(o *options) bool { return o.chosen.Prefix == "a" && o.partition == "fast" }},
		{"-P a srv", func(o *options) bool { return o.chosen.Prefix == "a" && o.partition == "" }},
		{"-D srv anne -a", func(o *options) bool { return o.chosen == nil && o.selection.KeepDeletedPrefix }},
		{"srv anne:bob -a", func(o *options) bool { return o.backup == "anne" && o.heir == "bob" }},
		{"srv -u anne:bob -a", func(o *options) bool { return o.backup == "anne" && o.heir == "bob" }},
		{"srv -f user/a:b -a", func(o *options) bool { return o.backup == "user/a:b" && o.heir == "" }},
		{"--map user/anne/A=user/anne/B --map x=y srv anne -a", func(o *options) bool {
			return slices.Equal(o.maps, []move{{"user/anne/A", "user/anne/B"}, {"x", "y"}})
		}},
		{"-a srv -u anne", func(o *options) bool { return o.backup == "anne" && o.selection.All }},
		{"srv -m shared.news -a", func(o *options) bool { return o.mode == cli.ByMailbox && o.backup == "shared.news" }},
		{"srv --file user/anne -a", func(o *options) bool { return o.mode == cli.ByPath && o.backup == "user/anne" }},
		{"-Aanne\u00a0lrs srv anne x", func(o *options) bool { return acl(o) == "anne\tlrs\t" }},
		{"-A srv anne x", func(o *options) bool { return acl(o) == "" && o.server == "srv" }},
		{"--override-acl=anne\u00a0lr\u00a0anyone\u00a0r srv anne x", func(o *options) bool { return acl(o) == "anne\tlr\tanyone\tr\t" }},
		{"srv anne x", func(o *options) bool { return acl(o) == "none" }},
		{"-rvvnL -P fast -M user.x srv anne x", func(o *options) bool {
			return o.selection.Recursive && o.verbose == 2 && o.dryRun && o.local && o.partition == "fast" && o.selection.Into == "user.x"
		}},
		{"-DUz srv anne -a", func(o *options) bool {
			return o.selection.KeepDeletedPrefix && o.keepUIDs && o.compress && o.selection.LiveOnly
		}},
		{"-X srv anne x", func(o *options) bool { return o.selection.Deleted == restore.Without }},
		{"-x srv anne x", func(o *options) bool { return o.selection.Deleted == restore.Only }},
		{"--commit 7 srv anne -a", func(o *options) bool { return o.moment.Number == 7 && o.selection.LiveOnly }},
		{"--at 2026-11-20T14:05:00Z srv anne -a", func(o *options) bool { return o.moment.Time.Hour() == 14 }},
		{"--at 2026-11-24T11:05:07Z srv anne -a", func(o *options) bool { return o.moment.Time.Nanosecond() == 999_999_999 }},
		{"--until 2027-01-01 srv anne -a", func(o *options) bool { return !o.selection.Until.IsZero() }},
		{"--to srv:2005/tls anne -a", func(o *options) bool { return o.server == "srv:2005/tls" }},
		{"--rate 10MB srv anne x", func(o *options) bool { return o.rate == 10e6 }},
		{"--to maildir:/tmp/x anne -a", func(o *options) bool { return o.toFiles == "maildir" && o.server == "/tmp/x" && o.backup == "anne" }},
		{"--to sync://srv:2006 anne -a", func(o *options) bool { return o.toFiles == "" && o.server == "srv:2006" }},
		{"--to imaps://anne@srv/ anne -a", func(o *options) bool { return o.toFiles == "imap" && o.server == "imaps://anne@srv/" }},
		{"-F - srv anne", func(o *options) bool { return slices.Equal(o.selection.Objects, []string{"user.a", "user.b"}) }},
	} {
		argv := strings.Split(c.argv, " ")
		for i := range argv { // a space within a word
			argv[i] = strings.ReplaceAll(argv[i], "\u00a0", " ")
		}
		o, err := parse(t.Context(), argv, stdio{in: strings.NewReader("# two\n\nuser.a\nuser.b\n")}, now)
		if err != nil || !c.check(o) {
			t.Errorf("%s: %+v, %v", c.argv, o, err)
		}
	}
	for _, argv := range []string{
		"", "srv", "srv anne", "srv -u anne -m x -a", "-X -x srv anne x", "-a srv anne x", "-U -P x srv anne x", "-U -A srv anne x",
		"-U -M x srv anne x", "-U --newest-first srv anne -a", "-a -F - srv anne", "-F - srv anne x", "-F /nowhere/at/all srv anne",
		"--at sometime srv anne -a", "--at now --commit 3 srv anne -a", "--rate fast srv anne -a", "--parallel 0 srv anne -a",
		"--progress loud srv anne -a", "--to maildir:/x -U anne -a", "--to maildir: anne -a", "--since now --until yesterday srv anne -a",
		"--flags-only -M x srv anne x", "--nonsense", "--at 23:00 srv anne -a", "--since 2027-01-01 srv anne -a", "--at= srv anne -a",
		"--commit 0 srv anne -a", "-Alrs srv anne x", "--dest-mailbox= srv anne -a", "--rate= srv anne -a", "--since= srv anne -a", "--flags-only -P x srv anne x",
		"--to maildir:/x --parallel 2 anne -a", "--to tar:/x --newest-first anne -a", "--password-file x srv anne -a",
		"srv --all-users anne", "srv --all-users -a", "srv --domain x --prefix y", "srv -A -P x", "srv -A -M x", "srv -A --map x=y", "srv -A --commit 3",
		"--to tar:/x -A", "--to imap://x@y/ -A", "--to mbox:/x --newest-first -A", "srv anne -a --resume f", "srv anne -a -j", "srv --domain= -a", "srv -u anne --all-users",
		"srv :bob -a", "srv anne: -a", "srv anne:anne -a", "srv a:b:c -a", "-U srv anne:bob -a", "-D srv anne:bob -a", "-M x srv anne:bob -a", "--map x srv anne -a",
		"--map x= srv anne -a", "--map =x srv anne -a", "--map x=y=z srv anne -a", "--map x=y --map x=z srv anne -a", "-U --map x=y srv anne -a",
		"--to maildri:/x anne -a", "--to /tmp anne -a", "--to tmp/anne anne -a",
	} {
		_, err := parse(t.Context(), strings.Fields(argv), stdio{in: strings.NewReader("")}, now)
		var u *cli.UsageError
		if !errors.As(err, &u) {
			t.Errorf("%s: %v, want a usage error", argv, err)
		}
	}
}
