package ctlbackups

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/saslconf"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// passwd maintains the file of credentials for the logins of sync_client.
func passwd(c *command) error {
	conf, err := imapconf.Load(c.config, "ctl_backups")
	if err != nil {
		return &cli.ConfigError{Err: err}
	}
	path := conf.String("backup_credentials_path")
	policy, _, err := saslconf.Options(conf)
	if err != nil {
		return &cli.ConfigError{Err: err}
	}
	switch {
	case c.source != "":
		return c.importPasswords(conf, path, policy)
	case c.list && len(c.args) == 0:
		return c.listLogins(path)
	case len(c.args) != 1:
		return cli.Usagef("passwd needs one user")
	}
	// The name in the form that logins are compared with.
	user, err := policy.Users.Canonical(c.args[0])
	if err != nil {
		return err
	}
	if c.remove {
		found, err := sasl.RemoveUser(path, user)
		if err == nil && !found {
			err = fmt.Errorf("%s is not in %s", user, path)
		}
		c.audit.Done(conf, "passwd: user removed", err, "user", user, "file", path)
		return c.passwdDone(user, "removed", err)
	}
	password, err := c.readPassword()
	if err != nil {
		return err
	}
	err = sasl.SetPassword(path, user, password)
	c.audit.Done(conf, "passwd: password set", err, "user", user, "file", path)
	return c.passwdDone(user, "password set", err)
}

// listLogins prints the users who have a password.
func (c *command) listLogins(path string) error {
	users, err := sasl.Users(path)
	for _, u := range users {
		if !c.structured() {
			cli.Fprintf(c.out, "%s\n", u)
		} else if perr := c.object(struct {
			User string `json:"user"`
		}{u}); perr != nil {
			return perr
		}
	}
	return err
}

// passwdDone prints the result, under the name that logins are compared with.
func (c *command) passwdDone(user, what string, err error) error {
	if err != nil {
		return err
	}
	_, err = cli.Fprintf(c.out, "%s: %s\n", user, what)
	return err
}

// readPassword reads a line. From a terminal it reads twice, without echo.
func (c *command) readPassword() (string, error) {
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return c.askTwice(int(f.Fd()))
	}
	line, err := bufio.NewReader(io.LimitReader(c.in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func (c *command) askTwice(fd int) (string, error) {
	var words [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(c.err, prompt)
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(c.err)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		words[i] = string(b)
	}
	if words[0] != words[1] {
		return "", errors.New("the two passwords differ: nothing was changed")
	}
	return words[0], nil
}
