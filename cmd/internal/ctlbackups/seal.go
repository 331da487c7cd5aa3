package ctlbackups

import (
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/attestation"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// seal makes a signed list of the newest commit of every backup, in each partition.
func seal(c *command) error {
	if c.initKey {
		return c.initSealKey()
	}
	path := c.bucket.Conf.String(sealKey)
	if path == "" {
		return &cli.ConfigError{Err: fmt.Errorf("seal needs the option %s in imapd.conf: the file of a secret key, which ctl_backups seal --init-key makes", sealKey)}
	}
	key, err := attestation.ReadSecretKey(path)
	if err != nil {
		return &cli.ConfigError{Err: fmt.Errorf("%s: %w", sealKey, err)}
	}
	keys, err := c.publicKeys()
	if err != nil {
		return err
	}
	record := c.beginRun(repository.RunSeal)
	failed := false
	for _, p := range c.bucket.Partitions {
		if c.ctx.Err() != nil {
			break
		}
		s := &sealRun{c: c, p: p, record: record}
		if err := s.seal(key, keys); err != nil {
			failed = true
			if !errors.Is(err, cli.ErrReported) {
				cli.Fprintf(c.err, "ctl_backups: %v\n", err)
			}
		}
	}
	for _, err := range c.bucket.LeftOut() {
		cli.Fprintf(c.err, "ctl_backups: left out: %v\n", err)
		failed = true
	}
	err = c.ctx.Err()
	if err == nil && failed {
		err = cli.ErrReported
	}
	record.end(false, err)
	return err
}

// sealRun is a run of seal or verify --seals in a partition.
type sealRun struct {
	c      *command
	p      repository.Config
	record *runRecord

	problems int
	first    string // problem
	unasked  int    // backups that could not be read because the store has failed
}

// options returns what both commands share. The function that it returns closes the copy outside.
func (s *sealRun) options(keys attestation.PublicKeys, outside string, readOnly bool) (attestation.Options, func() error, error) {
	c := s.c
	l, _ := objstore.ParseLocation(s.p.Location) // it was parsed before
	o := attestation.Options{Keys: keys, Host: c.host, Now: c.hostNow, Retention: max(0, c.bucket.Conf.Duration("backup_retention")), Partitions: c.bucket.Partitions,
		TrustETags: l.Scheme != objstore.Dir, Accept: c.accept, By: c.person(), Report: s.report, Note: s.note, NewCopy: c.newCopy}
	if outside == "" {
		return o, func() error { return nil }, nil
	}
	store, end, err := s.c.openOutside(s.p, outside, readOnly)
	o.Outside = store
	return o, end, err
}

// openOutside opens the copy of the lists of a partition: a folder with its name.
func (c *command) openOutside(p repository.Config, arg string, readOnly bool) (objstore.Store, func() error, error) {
	l, err := location(arg)
	if err != nil {
		return nil, nil, err
	}
	for _, part := range c.bucket.Partitions {
		if sharesStorage(l, part.Location) {
			return nil, nil, cli.Usagef("%s is in the storage of partition %s: the copy of the lists must be where nobody can change it who can write to the partition", l, part.Name)
		}
	}
	if l.Scheme == objstore.Dir {
		l.Path = path.Join(l.Path, p.Name)
	} else {
		l.Prefix = path.Join(l.Prefix, p.Name)
	}
	out, closer, err := stores.OpenOne(c.ctx, p.Name, l, stores.Options{CredentialsFile: c.bucket.Conf.String("backup_credentials_file"), ReadOnly: readOnly})
	if err != nil {
		return nil, nil, fmt.Errorf("open the copy of the lists: %w", err)
	}
	return out.Store, closer.Close, nil
}

// report prints a finding, or that a backup could not be read.
func (s *sealRun) report(p attestation.Problem) {
	switch {
	case p.Outage:
		s.unasked++
	case s.problems == 0:
		s.first = p.String()
		fallthrough
	default:
		s.problems++
	}
	w := s.c.out
	if s.c.structured() {
		w = s.c.err
	}
	cli.Fprintf(w, "%s\n", p)
}

// note prints why a backup is gone, and with -v what else has changed. Somebody who can forge the record of an erasure could
// hide a removal otherwise.
func (s *sealRun) note(backup string, gone bool, text string) {
	if s.c.verbose == 0 && !gone {
		return
	}
	at := s.p.Name
	if backup != "" {
		at += ":" + backup
	}
	w := s.c.out
	if s.c.structured() {
		w = s.c.err
	}
	cli.Fprintf(w, "%s: %s\n", at, text)
}

// incomplete adds the backups that could not be read to an error.
func (s *sealRun) incomplete(err error) error {
	if s.unasked == 0 {
		return err
	}
	return errors.Join(err, fmt.Errorf("partition %s: %s could not be read; run it again when the store answers", s.p.Name, english.Plural(s.unasked, "backup", "")))
}

// seal makes a list. A copy that cannot be reached does not keep it from the bucket.
func (s *sealRun) seal(key attestation.SecretKey, keys attestation.PublicKeys) error {
	o, end, outside := s.options(keys, s.c.to, false)
	if end == nil {
		end = func() error { return nil }
	}
	r, err := attestation.Seal(s.c.ctx, s.p, key, o)
	err = s.incomplete(errors.Join(outside, err, end()))
	if r == nil {
		s.done(nil, err)
		return err
	}
	if perr := s.print("seal", r, err); perr != nil {
		return perr
	}
	s.done(r, err)
	s.log(r, err)
	if err == nil && s.problems > 0 {
		err = cli.ErrReported
	}
	return err
}

// done records the run.
func (s *sealRun) done(r *attestation.Result, err error) {
	if err != nil {
		s.record.blocked(s.p.Name, err.Error())
	}
	if r == nil {
		return
	}
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	of := s.record.part(s.p.Name)
	of.Backups, of.Failed = r.Backups, s.problems
}

// sealReport is a list as JSON.
type sealReport struct {
	Command    string    `json:"command"`
	Partition  string    `json:"partition"`
	Status     string    `json:"status"`
	Reason     string    `json:"reason,omitempty"`
	List       uint64    `json:"list"`
	Time       time.Time `json:"time"`
	SHA256     string    `json:"sha256"`
	Signature  string    `json:"signature,omitempty"`
	Lists      int       `json:"lists"`
	Backups    int       `json:"backups"`
	New        int       `json:"new"`
	Gone       int       `json:"gone"`
	Shortened  int       `json:"shortened"`
	Unreadable int       `json:"unreadable"`
	Findings   int       `json:"findings"`
}

// print prints the result for a partition.
func (s *sealRun) print(verb string, r *attestation.Result, err error) error {
	word, reason := statusOf(err)
	if err == nil && s.problems > 0 {
		word, reason = "failed", objects(int64(s.problems), "problem")
	}
	if s.c.structured() {
		return s.c.object(sealReport{verb, s.p.Name, word, reason, r.Number, r.Time, r.SHA256, string(r.Signature), r.Lists, r.Backups, r.New, r.Gone, r.Shortened, r.Unreadable, s.problems})
	}
	if reason != "" {
		word += " (" + reason + ")"
	}
	by := ""
	if r.Other {
		by = " (made by another host at the same time)"
	}
	_, perr := cli.Fprintf(s.c.out, "%s %s: list %d of %s%s, SHA-256 %s: %s, %d new, %d gone, %d shortened: %s\n", verb, s.p.Name, r.Number, r.Time.UTC().Format(time.RFC3339), by,
		r.SHA256, english.Plural(r.Backups, "backup", ""), r.New, r.Gone, r.Shortened, word)
	return perr
}

// log writes the list to syslog, with --syslog, and findings in any case.
func (s *sealRun) log(r *attestation.Result, err error) {
	c := s.c
	if s.problems > 0 {
		c.audit.Alarm(c.bucket.Conf, "seal: backups were rewritten or removed since the last list, or lists were", "partition", s.p.Name, "list", r.Number, "findings", s.problems, "first", s.first)
	}
	if !c.syslog {
		return
	}
	c.audit.Done(c.bucket.Conf, "seal", err, append([]any{"partition", s.p.Name}, attestation.LogAttrs(r)...)...)
}
