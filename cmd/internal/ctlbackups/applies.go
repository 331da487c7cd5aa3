package ctlbackups

import (
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
)

// applies rejects options that the command would ignore.
func (c *command) applies(p *cmdline.Program, verb string) error {
	for _, o := range []struct {
		option string
		verbs  []string
	}{
		{"stale", []string{"list"}},
		{"from-bucket", []string{"list", "stat"}},
		{"shared", []string{"stat"}},
		{"quick", []string{"verify"}},
		{"repair", []string{"verify"}},
		{"read", []string{"verify"}},
		{"dry-run", []string{"verify", "compact", "erase", "forget-server", "passwd"}},
		{"force", []string{"compact"}},
		{"no-verify", []string{"list", "stat"}},
		{"pause", []string{"lock"}},
		{"execute", []string{"lock"}},
		{"create", []string{"lock"}},
		{"delete", []string{"passwd"}},
		{"import", []string{"passwd"}},
		{"replace", []string{"passwd"}},
		{"realm", []string{"passwd"}},
		{"list", []string{"passwd", "erase"}},
		{"yes", []string{"erase", "release"}},
		{"tripwire", []string{"release"}},
		{"before", []string{"erase"}},
		{"message", []string{"erase"}},
		{"cancel", []string{"erase"}},
		{"wait", []string{"erase"}},
		{"for", []string{"debug", "compact"}},
		{"limit-requests", []string{"compact"}},
		{"accept-missing", []string{"compact"}},
		{"max-age", []string{"status"}},
		{"backups", []string{"cost"}},
		{"holds", []string{"list"}},
		{"client", []string{"doctor"}},
		{"cyrus-conf", []string{"doctor"}},
		{"reason", []string{"hold", "release", "erase"}},
		{"until", []string{"hold"}},
		{"users", []string{"drill"}},
		{"share", []string{"drill"}},
		{"scratch", []string{"drill"}},
		{"init-key", []string{"seal"}},
		{"to", []string{"drill", "seal"}},
		{"syslog", []string{"seal"}},
		{"new-copy", []string{"seal"}},
		{"accept", []string{"seal"}},
		{"seals", []string{"verify"}},
	} {
		if p.Changed(o.option) && !slices.Contains(o.verbs, verb) {
			return cli.Usagef("--%s cannot be used with %s, only with %s", o.option, verb, strings.Join(o.verbs, " and "))
		}
	}
	c.timed = p.Changed("for")
	if verb == "passwd" {
		return c.checkPasswd(p)
	}
	switch {
	case c.shared && c.many():
		return cli.Usagef("stat --shared takes names of single backups, because it reads many others for each of them")
	case c.initKey && (len(c.args) > 0 || c.anyMode() || c.structured() || p.Changed("to") || c.syslog || c.newCopy || c.accept > 0):
		return cli.Usagef("seal --init-key takes no other options of seal")
	case p.Changed("to") && c.to == "" && verb == "seal":
		return cli.Usagef("--to: the location is empty")
	case p.Changed("to") && c.to == "":
		return cli.Usagef("--to: the server is empty")
	case c.seals && (c.quick || c.repair || c.read.given()):
		return cli.Usagef("--seals cannot be used with --quick, --repair and --read")
	case c.read.given() && (c.quick || c.repair):
		return cli.Usagef("--read cannot be used with --quick and --repair")
	case c.repair && c.quick:
		return cli.Usagef("verify --repair reads everything: --quick cannot be used with it")
	case c.dryRun && !c.repair && verb == "verify":
		return cli.Usagef("--dry-run is only for verify --repair")
	case p.Changed("execute") && c.execute == "":
		return cli.Usagef("--execute: the command is empty")
	case p.Changed("users") && c.users < 1:
		return cli.Usagef("--users: the number of backups must be at least 1")
	case p.Changed("until") && c.until == "":
		return cli.Usagef("--until: the time is empty")
	case p.Changed("before") && c.before == "":
		return cli.Usagef("--before: the time is empty")
	case p.Changed("limit-requests") && c.rate < 1:
		return cli.Usagef("--limit-requests: the number of requests must be at least 1")
	case p.Changed("accept-missing") && c.mode != modeAll:
		return cli.Usagef("--accept-missing is for compact -A: only that misses backups")
	case p.Changed("stale") && c.stale < 0:
		return cli.Usagef("--stale: hours cannot be negative")
	}
	return nil
}

// checkPasswd rejects what the forms of passwd would ignore.
func (c *command) checkPasswd(p *cmdline.Program) error {
	forms := 0
	for _, given := range []bool{c.remove, c.list, p.Changed("import")} {
		if given {
			forms++
		}
	}
	switch {
	case c.anyMode():
		return cli.Usagef("passwd takes no mode")
	case forms > 1:
		return cli.Usagef("only one of --delete, --list and --import can be given")
	case c.list && len(c.args) > 0:
		return cli.Usagef("passwd --list takes no name")
	case p.Changed("import") && c.source == "":
		return cli.Usagef("--import: the name of the file is empty")
	case p.Changed("realm") && c.realm == "":
		return cli.Usagef("--realm: the realm is empty")
	case c.structured() && !c.list && c.source == "":
		return cli.Usagef("passwd prints JSON only with --list and --import")
	case c.source == "" && (c.replace || c.dryRun || c.realm != ""):
		return cli.Usagef("--replace, --realm and --dry-run are only for passwd --import")
	}
	return nil
}
