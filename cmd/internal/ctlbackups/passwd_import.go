package ctlbackups

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// account is a user of a database of Cyrus SASL, and the result of its import.
type account struct {
	user, realm string
	password    string
	hashes      []string // other properties
	login       string
	status      string
	reason      string
}

// The results of an import.
const (
	statusImported  = "imported"
	statusReplaced  = "replaced"
	statusUnchanged = "unchanged"
	statusKept      = "kept"
	statusSkipped   = "skipped"
)

func (a *account) name() string { return a.user + "@" + a.realm }

func (a *account) skip(reason string, args ...any) {
	a.status, a.reason = statusSkipped, fmt.Sprintf(reason, args...)
}

// importPasswords sets the passwords of those users of a database of Cyrus SASL who may use this server.
func (c *command) importPasswords(conf *imapconf.File, path string, policy sasl.Options) error {
	auth, err := sasl.New(policy)
	if err != nil {
		return &cli.ConfigError{Err: err}
	}
	if c.realm == "" {
		if c.realm, err = conf.ServerName(); err != nil {
			return &cli.ConfigError{Err: err}
		}
	}
	all, err := c.readAccounts()
	if err != nil {
		return fmt.Errorf("read %s: %w", c.source, err)
	}
	chosen, missing := c.chooseAccounts(all)
	c.judgeAccounts(auth, chosen)
	passwords := make(map[string]string)
	for _, a := range chosen {
		if a.status == "" {
			passwords[a.login] = a.password
		}
	}
	outcomes, err := sasl.SetPasswords(path, passwords, c.replace, c.dryRun)
	for _, a := range chosen {
		if done, found := outcomes[a.login]; found && a.status == "" {
			a.status, a.reason = statusOfOutcome(done)
		}
	}
	if !c.dryRun {
		c.audit.Done(conf, "passwd: passwords imported", err, "from", c.source, "file", path, "users", changedLogins(chosen))
	}
	if err != nil {
		return err
	}
	if err := c.printAccounts(chosen); err != nil {
		return err
	}
	return c.importResult(all, chosen, missing)
}

// chooseAccounts returns the accounts that the arguments name, or all. Accounts of the realm of the server are first.
// missing are the arguments that no account fits.
func (c *command) chooseAccounts(all []*account) (chosen []*account, missing []string) {
	fits := func(a *account, arg string) bool { return arg == a.user || arg == a.name() }
	for _, a := range all {
		if len(c.args) == 0 || slices.ContainsFunc(c.args, func(arg string) bool { return fits(a, arg) }) {
			chosen = append(chosen, a)
		}
	}
	for _, arg := range c.args {
		if !slices.ContainsFunc(all, func(a *account) bool { return fits(a, arg) }) {
			missing = append(missing, arg)
		}
	}
	rank := func(a *account) int { return slices.Index([]string{c.realm, "", a.realm}, a.realm) }
	slices.SortFunc(chosen, func(a, b *account) int {
		return cmp.Or(rank(a)-rank(b), strings.Compare(a.user, b.user), strings.Compare(a.realm, b.realm))
	})
	return chosen, missing
}

// judgeAccounts finds the login of each account, and skips accounts of no use here.
func (c *command) judgeAccounts(auth *sasl.Authenticator, accounts []*account) {
	first := make(map[string]*account)
	for _, a := range accounts {
		// As libsasl does: a login without a realm means the realm of the server (common/plugin_common.c: _plug_parseuser).
		login := a.user
		if a.realm != c.realm && a.realm != "" {
			login = a.name()
		}
		canonical, err := auth.Allows(login)
		a.login = canonical
		switch other := first[canonical]; {
		case errors.Is(err, sasl.ErrUnavailable):
			a.skip("%v", err)
		case err != nil:
			a.skip("%s%s", strings.TrimSuffix(err.Error(), ": "+sasl.ErrFailed.Error()), c.adviceOnRealm(auth, a))
		case a.password == "" && len(a.hashes) > 0:
			a.skip("it has only hashes (%s): set a password with ctl_backups passwd %s", strings.Join(a.hashes, ", "), canonical)
		case other != nil:
			a.skip("%s is the same login", other.name())
		default:
			if err := sasl.CheckNewPassword(a.password); err != nil {
				a.skip("%v", err)
			} else {
				first[canonical] = a
			}
		}
	}
}

// adviceOnRealm is for an account that could log in if its realm were the one of the server.
func (c *command) adviceOnRealm(auth *sasl.Authenticator, a *account) string {
	if a.realm == c.realm || a.realm == "" {
		return ""
	}
	canonical, err := auth.Allows(a.user)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("; --realm %s makes it the login %s", a.realm, canonical)
}

func statusOfOutcome(o sasl.Outcome) (status, reason string) {
	switch o {
	case sasl.Unchanged:
		return statusUnchanged, "the login has this password"
	case sasl.Kept:
		return statusKept, "the login has another password: --replace sets this one"
	case sasl.Replaced:
		return statusReplaced, ""
	}
	return statusImported, ""
}

func changedLogins(accounts []*account) string {
	var logins []string
	for _, a := range accounts {
		if a.status == statusImported || a.status == statusReplaced {
			logins = append(logins, a.login)
		}
	}
	return strings.Join(logins, " ")
}

// importResult returns an error if a named user has not become a login, or if no user has.
func (c *command) importResult(all, chosen []*account, missing []string) error {
	usable := slices.ContainsFunc(chosen, func(a *account) bool { return a.status != statusSkipped })
	skipped := slices.ContainsFunc(chosen, func(a *account) bool { return a.status == statusSkipped })
	switch {
	case len(missing) > 0:
		return fmt.Errorf("%s has no user %s", c.source, strings.Join(missing, ", "))
	case len(all) == 0:
		return fmt.Errorf("%s has no users", c.source)
	case len(c.args) > 0 && skipped:
		return cli.ErrReported
	case !usable:
		return fmt.Errorf("no user of %s can log in here: see admins in imapd.conf; the realm of the logins is %s, and --realm changes it", c.source, c.realm)
	}
	return nil
}
