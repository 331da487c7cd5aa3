package ctlbackups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/attestation"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// verifySeals compares all backups with the newest signed list, or with the one on the command line.
func (c *command) verifySeals() error {
	keys, err := c.publicKeys()
	if err != nil {
		return err
	}
	outside := ""
	var kept *keptList
	if len(c.args) == 1 {
		if kept, err = keptAt(c.args[0]); err != nil {
			return err
		}
		if kept == nil {
			outside = c.args[0]
		}
	}
	record := c.beginRun(repository.RunVerifySeals)
	compared, failed := 0, false
	for _, p := range c.bucket.Partitions {
		s := &sealRun{c: c, p: p, record: record}
		found, err := s.verify(keys, kept, outside)
		if found {
			compared++
		}
		if err != nil && c.ctx.Err() == nil {
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
	switch {
	case err != nil:
	case failed:
		err = cli.ErrReported
	case compared == 0 && kept != nil:
		err = fmt.Errorf("%s: %w than those of this server", c.args[0], attestation.ErrOtherRepository)
	case compared == 0:
		err = attestation.ErrNone
	}
	if kept == nil {
		record.end(false, err)
	}
	return err
}

// verify compares a partition. found reports whether there is a list of it.
func (s *sealRun) verify(keys attestation.PublicKeys, kept *keptList, outside string) (found bool, err error) {
	o, end, err := s.options(keys, outside, true)
	if err != nil {
		s.done(nil, err)
		return false, err
	}
	given, closeGiven, err := kept.open()
	if err != nil {
		return false, errors.Join(err, end())
	}
	r, err := attestation.Verify(s.c.ctx, s.p, given, o)
	err = s.incomplete(errors.Join(err, end(), closeGiven()))
	if kept != nil && errors.Is(err, attestation.ErrOtherRepository) {
		return false, nil
	}
	s.done(r, err)
	if r == nil {
		if err == nil && s.problems > 0 {
			err = cli.ErrReported
		}
		return false, err
	}
	if perr := s.print("verify", r, err); perr != nil {
		return true, perr
	}
	if err == nil && s.problems > 0 {
		err = cli.ErrReported
	}
	return true, err
}

// keptList is a list that a person has kept.
type keptList struct {
	signature []byte
	body      string // file; "" = the list is taken from the bucket
}

// keptAt returns the list in a file, or that of a signature in a file. It returns nil if this is no file, but the copy of
// all lists.
func keptAt(arg string) (*keptList, error) {
	info, err := os.Stat(arg)
	if strings.Contains(arg, "://") || err == nil && info.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	k := &keptList{body: arg}
	candidates := []string{arg + ".minisig"}
	if number, _, cut := strings.Cut(filepath.Base(arg), "-"); cut {
		candidates = append(candidates, filepath.Join(filepath.Dir(arg), number+".minisig"))
	}
	if strings.HasSuffix(arg, ".minisig") {
		k.body, candidates = "", []string{arg}
	}
	for _, name := range candidates {
		if k.signature, err = os.ReadFile(name); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the signature of %s is missing: %w", arg, err)
	}
	if k.body == "" {
		k.body = beside(arg, k.signature)
	}
	return k, nil
}

// beside returns the file of the list that a signature names, in the same directory; "" = it is not there.
func beside(file string, signature []byte) string {
	c, err := attestation.Describe(signature)
	if err != nil {
		return ""
	}
	name := filepath.Join(filepath.Dir(file), filepath.Base(attestation.ListKey(c.List.Number, c.List.SHA256)))
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}

// open opens the list. k may be nil.
func (k *keptList) open() (*attestation.Given, func() error, error) {
	if k == nil {
		return nil, func() error { return nil }, nil
	}
	g := &attestation.Given{Signature: k.signature}
	if k.body == "" {
		return g, func() error { return nil }, nil
	}
	f, err := os.Open(k.body)
	if err != nil {
		return nil, nil, err
	}
	g.Body = f
	return g, f.Close, nil
}
