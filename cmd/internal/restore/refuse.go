package restore

import (
	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
)

// filled rejects options with an empty value, such as an unset variable in a script: without
// its limits, a restore would restore everything.
func (g *given) filled(p *cmdline.Program) error {
	for _, o := range []struct{ name, value string }{
		{"userid", g.user}, {"mailbox", g.mailbox}, {"file", g.path}, {"input-file", g.input}, {"at", g.atText}, {"since", g.since},
		{"until", g.until}, {"to", g.to}, {"password-file", g.passwordFile}, {"dest-mailbox", g.selection.Into},
		{"dest-partition", g.partition}, {"domain", g.domain}, {"prefix", g.prefix}, {"resume", g.resume}, {"rate", g.rateText},
	} {
		if p.Changed(o.name) && o.value == "" {
			return cli.Usagef("--%s: the value is empty", o.name)
		}
	}
	if p.Changed("commit") && g.moment.Number == 0 {
		return cli.Usagef("--commit: commits are numbered from 1")
	}
	return nil
}
