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
		{"dry-run", []string{"verify", "compact", "erase", "forget-server"}},
		{"force", []string{"compact"}},
		{"no-verify", []string{"list", "stat"}},
		{"pause", []string{"lock"}},
		{"execute", []string{"lock"}},
		{"create", []string{"lock"}},
		{"delete", []string{"passwd"}},
		{"list", []string{"passwd", "erase"}},
		{"yes", []string{"erase", "release"}},
		{"tripwire", []string{"release"}},
		{"before", []string{"erase"}},
		{"message", []string{"erase"}},
		{"cancel", []string{"erase"}},
		{"wait", []string{"erase"}},
		{"for", []string{"debug", "compact"}},
		{"limit-requests", []string{"compact"}},
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
		{"to", []string{"drill"}},
	} {
		if p.Changed(o.option) && !slices.Contains(o.verbs, verb) {
			return cli.Usagef("--%s cannot be used with %s, only with %s", o.option, verb, strings.Join(o.verbs, " and "))
		}
	}
	c.timed = p.Changed("for")
	switch {
	case verb == "passwd" && c.anyMode():
		return cli.Usagef("passwd takes no mode")
	case verb == "passwd" && c.structured() && !c.list:
		return cli.Usagef("passwd prints JSON only with --list")
	case verb == "passwd" && c.remove && c.list:
		return cli.Usagef("only one of --delete and --list can be given")
	case verb == "passwd" && c.list && len(c.args) > 0:
		return cli.Usagef("passwd --list takes no name")
	case c.shared && c.many():
		return cli.Usagef("stat --shared takes names of single backups, because it reads many others for each of them")
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
	case p.Changed("to") && c.to == "":
		return cli.Usagef("--to: the server is empty")
	case p.Changed("until") && c.until == "":
		return cli.Usagef("--until: the time is empty")
	case p.Changed("before") && c.before == "":
		return cli.Usagef("--before: the time is empty")
	case p.Changed("limit-requests") && c.rate < 1:
		return cli.Usagef("--limit-requests: the number of requests must be at least 1")
	case p.Changed("stale") && c.stale < 0:
		return cli.Usagef("--stale: hours cannot be negative")
	}
	return nil
}
