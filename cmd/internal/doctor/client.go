package doctor

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// Client prints the lines that the mail host needs in imapd.conf and cyrus.conf, for this backup
// host.
func Client(w io.Writer, conf *imapconf.File, cyrusConf string) error {
	host, err := conf.ServerName()
	if err != nil {
		return err
	}
	name := "repl"
	for _, word := range conf.Words("admins") {
		if !strings.HasPrefix(word, "group:") {
			name = word
			break
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# /etc/imapd.conf of the mail host
sync_log: 1
sync_log_channels: backup
# also back up mail that restore delivers through sync_server
sync_log_chain: 1
backup_sync_host: %s
backup_sync_port: %s
backup_sync_authname: %s
# the password that was set by: ctl_backups passwd %s
backup_sync_password: …
backup_sync_try_imap: 0
`, host, port(cyrusConf), name, name)
	if cert := conf.String("tls_server_cert"); cert == "" || cert == "disabled" {
		b.WriteString("# The backup host has no certificate: mail crosses the network in clear text. See tls_server_cert.\n")
	} else if !conf.Switch("tls_required") {
		b.WriteString("# Set tls_required: yes on the backup host: without it, sync_client does not begin TLS.\n")
	}
	b.WriteString(`# the admins so far, and the user of restore (restore_authname on the backup host)
admins: cyrus restore

# /etc/cyrus.conf of the mail host: add to these sections, if it has them
DAEMON {
  backupsync  cmd="sync_client -r -n backup"
}
SERVICES {
  # restore delivers here; port 2005 if /etc/services has no csync
  syncserver  cmd="sync_server" listen="csync"
}

# Then, on the mail host as the cyrus user: one user, then all
sync_client -n backup -v -u USER
sync_client -n backup -v -A
`)
	_, err = io.WriteString(w, b.String())
	return err
}

// port returns the port of the first backupd in cyrus.conf.
func port(cyrusConf string) string {
	text, err := os.ReadFile(cyrusConf)
	if err != nil {
		return "2005"
	}
	for _, e := range daemons(parseCyrusConf(string(text))) {
		if listen := e.value["listen"]; listen != "" && !strings.HasPrefix(listen, "/") {
			return listen[strings.LastIndex(listen, ":")+1:]
		}
	}
	return "2005"
}
