package restore

import (
	"net"
	"os"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/syncport"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/csync"
	"github.com/cyrusbackup/backupd/internal/restore/files"
	"github.com/cyrusbackup/backupd/internal/restore/imapdest"
)

func (j *job) destination(rep *restore.Report) (destination, error) {
	domain := j.bucket.Conf.String("defaultdomain")
	switch j.toFiles {
	case "":
		return j.cyrus(rep)
	case "imap":
		at, err := imapdest.ParseLocation(j.server)
		if err != nil {
			return nil, cli.Usagef("--to: %v", err)
		}
		secure, err := syncport.TLSConfig(j.bucket.Conf)
		if err != nil {
			return nil, &cli.ConfigError{Err: err}
		}
		secure.ServerName, _, _ = net.SplitHostPort(at.Addr)
		password, err := j.password()
		if err != nil {
			return nil, err
		}
		return imapdest.New(j.src, rep, at, imapdest.Options{Password: password, TLS: secure, Parallel: j.parallel,
			NewestFirst: j.newestFirst, DryRun: j.dryRun, Verbose: j.verbose, Journal: j.journalDir(), Target: j.selection.Target,
			DefaultDomain: domain, DeletedPrefix: j.selection.DeletedPrefix}), nil
	}
	return files.New(j.src, rep, files.Options{Kind: j.toFiles, Path: j.server, DryRun: j.dryRun, Verbose: j.verbose, Lossy: j.lossy, Many: j.chosen != nil,
		DefaultDomain: domain, DeletedPrefix: j.selection.DeletedPrefix, AdminForm: j.selection.AdminForm}), nil
}

// password returns the password of an IMAP account, from a file or the environment, which
// other users of the host cannot see.
func (j *job) password() (string, error) {
	if j.passwordFile != "" {
		b, err := os.ReadFile(j.passwordFile)
		line, _, _ := strings.Cut(string(b), "\n")
		return strings.TrimSuffix(line, "\r"), err
	}
	if p, ok := os.LookupEnv("RESTORE_IMAP_PASSWORD"); ok {
		return p, nil
	}
	return "", cli.Usagef("the password is missing: RESTORE_IMAP_PASSWORD in the environment, or --password-file")
}

func (j *job) cyrus(rep *restore.Report) (destination, error) {
	dial, err := syncport.Dialer(j.bucket.Conf, j.server, j.compress)
	if err != nil {
		return nil, err
	}
	var target func(string) string
	if len(j.selection.Moves) > 0 {
		target = j.selection.Target
	}
	return csync.New(j.src, rep, csync.Options{
		Target: target,
		Dial:   dial, Parallel: j.parallel, Partition: j.partition, ACL: j.acl, KeepUIDs: j.keepUIDs,
		Undelete: j.current(), Local: j.local, NewestFirst: j.newestFirst,
		FlagsOnly: j.flagsOnly, DryRun: j.dryRun, Verbose: j.verbose,
		DeletedPrefix: j.selection.DeletedPrefix, DefaultDomain: j.bucket.Conf.String("defaultdomain"),
	}), nil
}
