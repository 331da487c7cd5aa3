package replay

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
)

const serveNull = "serve-null"

// settings are the command line.
type settings struct {
	connection
	useExec     bool
	null        bool
	user        string
	users       int
	connections int
	folder      string
	verbatim    bool
	rounds      int
	grow        int
	json        bool
}

// commandLine describes the command line; parsing it fills s in.
func (s *settings) commandLine() *cmdline.Program {
	p := cmdline.New("backup_replay", "[OPTION...] SOURCE [-- PROGRAM ARG...]", serveNull+" [--compress] LISTEN")
	p.Verbs = []cmdline.Verb{
		{Name: serveNull, Args: "LISTEN", Text: "be a csync server at host:port or the socket /path that takes everything and stores nothing, " +
			"whatever user and password come: what can be pushed to it is what this program and the connection can do"},
	}
	p.Group("Where to", func(f *pflag.FlagSet) {
		f.StringVar(&s.server, "server", "", "`ADDRESS` of the server: host:port, or the path of a UNIX socket")
		f.BoolVar(&s.useExec, "exec", false, "run what stands behind -- for each connection and speak to its standard input and output")
		f.BoolVar(&s.null, "null", false, "push to a null server in this process: what this program can do at most")
		f.StringVar(&s.auth, "auth", "", "log in as `USER`; the password is in --password-file or, in the environment, in "+passwordEnv)
		f.StringVar(&s.passwordFile, "password-file", "", "`FILE` with the password")
		f.StringVar(&s.mech, "mech", "", "SASL `MECHANISM`: PLAIN or SCRAM-SHA-256; else the stronger one offered")
		f.BoolVar(&s.compress, "compress", false, "COMPRESS DEFLATE, if it is offered; serve-null: offer it")
		f.BoolVar(&s.tls, "tls", false, "TLS from the first byte")
		f.BoolVar(&s.startTLS, "starttls", false, "STARTTLS")
		f.StringVar(&s.caFile, "ca", "", "`FILE` with the certificates to trust")
		f.BoolVar(&s.insecure, "insecure", false, "trust any certificate")
	})
	p.Group("What", func(f *pflag.FlagSet) {
		f.StringVar(&s.user, "user", "replay", "`NAME` of the user whose mail it is")
		f.IntVar(&s.users, "users", 1, "push for `N` users, USER1, USER2, ...; generated mail differs among them")
		f.IntVar(&s.connections, "connections", 1, "`N` connections at a time")
		f.BoolVar(&s.verbatim, "verbatim", false, "leave line ends as SOURCE has them; else they become CR LF, as Cyrus stores them")
		f.StringVar(&s.folder, "folder", "", "mailbox `PATH` below INBOX for the source's top, components joined by /")
		f.IntVar(&s.rounds, "rounds", 1, "push `N` times")
		f.IntVar(&s.grow, "grow", 0, "gen: adds `N` messages to each mailbox with each further round; a later run must not begin with fewer")
	})
	p.Group("General", func(f *pflag.FlagSet) {
		f.BoolVar(&s.json, "json", false, "print the summary as JSON")
		p.About(f)
	})
	p.Notes = `SOURCE is a Maildir (with the folders below it), an mbox (mboxrd), a directory
of .eml files, or gen:COUNT:SIZE[:SEED], which makes COUNT messages of about
SIZE bytes (k, M).

The same source gives the same mailboxes at every run: the second finds nothing
to do.
`
	p.Exit = []cmdline.Status{
		{Code: 0, Text: "everything was pushed, or the server had it already"},
		{Code: exitFailed, Text: "a user failed; the summary says which, and why"},
		{Code: exitUsage, Text: "the command line makes no sense"},
		{Code: exitSource, Text: "SOURCE cannot be read"},
	}
	p.Examples = []string{
		"backup_replay --server localhost:2005 --auth repl --password-file pw \\",
		"    --user anne gen:1000:5k",
		"backup_replay --server /run/csync --users 10 --connections 4 ~/Maildir",
		"backup_replay --user anne --exec mail.mbox -- backupd -C imapd.conf",
		"backup_replay --null --connections 4 --users 4 gen:10000:5k",
	}
	p.Arguments = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"gen:", serveNull}, cobra.ShellCompDirectiveDefault // or a file
	}
	p.Values = map[string]cobra.CompletionFunc{"mech": cmdline.Words("PLAIN", "SCRAM-SHA-256")}
	return p
}
