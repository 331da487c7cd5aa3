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
		{Name: serveNull, Args: "LISTEN", Text: "run a csync server at host:port or the socket /path that accepts everything and stores nothing, " +
			"with any user and password: its throughput is the limit of this program and the connection"},
	}
	p.Group("Where to", func(f *pflag.FlagSet) {
		f.StringVar(&s.server, "server", "", "`ADDRESS` of the server: host:port, or the path of a UNIX socket")
		f.BoolVar(&s.useExec, "exec", false, "run the PROGRAM after -- for each connection and speak to its standard input and output")
		f.BoolVar(&s.null, "null", false, "push to a null server in this process, to measure the limit of this program")
		f.StringVar(&s.auth, "auth", "", "log in as `USER`, with the password from --password-file or from "+passwordEnv+" in the environment")
		f.StringVar(&s.passwordFile, "password-file", "", "`FILE` with the password")
		f.StringVar(&s.mech, "mech", "", "SASL `MECHANISM`: PLAIN or SCRAM-SHA-256; without it, the strongest that the server offers")
		f.BoolVar(&s.compress, "compress", false, "use COMPRESS DEFLATE if the server offers it; serve-null: offer it")
		f.BoolVar(&s.tls, "tls", false, "TLS from the first byte")
		f.BoolVar(&s.startTLS, "starttls", false, "STARTTLS")
		f.StringVar(&s.caFile, "ca", "", "`FILE` with the certificates to trust")
		f.BoolVar(&s.insecure, "insecure", false, "trust any certificate")
	})
	p.Group("What", func(f *pflag.FlagSet) {
		f.StringVar(&s.user, "user", "replay", "`NAME` of the user who gets the mail")
		f.IntVar(&s.users, "users", 1, "push for `N` users, USER1, USER2, ...; generated mail differs among them")
		f.IntVar(&s.connections, "connections", 1, "`N` connections at a time")
		f.BoolVar(&s.verbatim, "verbatim", false, "keep the line ends of SOURCE; without it, they become CR LF, as Cyrus stores them")
		f.StringVar(&s.folder, "folder", "", "mailbox `PATH` below INBOX for the source's top, components joined by /")
		f.IntVar(&s.rounds, "rounds", 1, "push `N` times")
		f.IntVar(&s.grow, "grow", 0, "gen: add `N` messages to each mailbox in each further round; a later run must not start with fewer")
	})
	p.Group("General", func(f *pflag.FlagSet) {
		f.BoolVar(&s.json, "json", false, "print the summary as JSON")
		p.About(f)
	})
	p.Notes = `SOURCE is a Maildir (with the folders below it), an mbox (mboxrd), a directory
of .eml files, or gen:COUNT:SIZE[:SEED], which makes COUNT messages of about
SIZE bytes (k, M).

The same source gives the same mailboxes in every run: a second run finds nothing
to do.

For each round it prints what it has pushed, the seconds, messages/s and MB/s (a
million bytes of message bodies), and the times of each command: in total, and
after its last byte was sent.
`
	p.Exit = []cmdline.Status{
		{Code: 0, Text: "success: everything was pushed, or the server had it already"},
		{Code: exitFailed, Text: "a user failed; the summary names the user and the reason"},
		{Code: exitUsage, Text: "the command line is wrong"},
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
