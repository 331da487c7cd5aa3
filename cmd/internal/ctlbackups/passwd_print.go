package ctlbackups

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// printAccounts prints the result for each account, and how many there are of each.
func (c *command) printAccounts(accounts []*account) error {
	count := make(map[string]int)
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	if !c.structured() && len(accounts) > 0 {
		fmt.Fprint(w, "user\tresult\tlogin\treason\n") // the errors of a tabwriter come from Flush
	}
	for _, a := range accounts {
		count[a.status]++
		if c.structured() {
			if err := c.printAccount(a); err != nil {
				return err
			}
			continue
		}
		login, reason := a.login, a.reason
		if login == "" {
			login = "-"
		}
		if reason == "" {
			reason = "-"
		}
		cli.Fprintf(w, "%s\t%s\t%s\t%s\n", a.name(), c.accountStatus(a), login, reason)
	}
	if c.structured() {
		return nil
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var parts []string
	for _, status := range []string{statusImported, statusReplaced, statusUnchanged, statusKept, statusSkipped} {
		if n := count[status]; n > 0 || status == statusImported {
			parts = append(parts, fmt.Sprintf("%d %s", n, status))
		}
	}
	_, err := cli.Fprintf(c.out, "%s\n", strings.Join(parts, ", ")+c.dryNote())
	return err
}

func (c *command) dryNote() string {
	if c.dryRun {
		return "; nothing was changed"
	}
	return ""
}

// accountStatus returns the result of an import, or what it would be.
func (c *command) accountStatus(a *account) string {
	if c.dryRun && (a.status == statusImported || a.status == statusReplaced) {
		return "would be " + a.status
	}
	return a.status
}

func (c *command) printAccount(a *account) error {
	return c.object(struct {
		User   string `json:"user"`
		Realm  string `json:"realm"`
		Login  string `json:"login,omitempty"`
		Status string `json:"status"`
		Reason string `json:"reason,omitempty"`
	}{a.user, a.realm, a.login, c.accountStatus(a), a.reason})
}
