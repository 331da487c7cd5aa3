package ctlbackups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// export copies backups into a repository outside the partitions of this server.
func export(c *command) error {
	l, err := location(c.target)
	if err != nil {
		return err
	}
	if at := c.configured(l); at != "" {
		return fmt.Errorf("%s is partition %s of this server: use move to move backups there", l, at)
	}
	out, closer, err := stores.OpenOne(c.ctx, "export", l, stores.Options{CredentialsFile: c.bucket.Conf.String("backup_credentials_file")})
	if err != nil {
		return err
	}
	set, end, err := c.scratchSetOf([]repository.Config{out})
	if err != nil {
		return errors.Join(err, closer.Close())
	}
	dest, err := set.Partition(out.Name)
	if err != nil {
		return errors.Join(err, end(), closer.Close())
	}
	err = c.each(func(f *repository.Found) error {
		done, err := transfer.Copy(c.ctx, f, dest, c.progress("export", f))
		return c.copied("export", f, done, err)
	})
	return errors.Join(err, end(), closer.Close())
}

// location parses a location from the command line; directories may be relative.
func location(arg string) (objstore.Location, error) {
	if !strings.Contains(arg, "://") {
		abs, err := filepath.Abs(arg)
		if err != nil {
			return objstore.Location{}, err
		}
		arg = abs
	}
	l, err := objstore.ParseLocation(arg)
	if err != nil {
		return l, cli.Usagef("%v", err)
	}
	return l, nil
}

// configured returns the partition of this server at a location; "" = none.
func (c *command) configured(l objstore.Location) string {
	for _, p := range c.bucket.Partitions {
		if p.Location == l.String() {
			return p.Name
		}
	}
	return ""
}

// repositoryAt reports whether an argument of import is a repository, and its location.
func repositoryAt(arg string) (objstore.Location, bool) {
	l, err := location(arg)
	if err != nil {
		return l, false
	}
	if l.Scheme == objstore.Dir {
		_, err := os.Stat(filepath.Join(l.Path, "repository.json"))
		return l, err == nil
	}
	return l, true
}

// importRepository imports all backups of an exported repository.
func (c *command) importRepository(l objstore.Location) error {
	if at := c.configured(l); at != "" {
		return fmt.Errorf("%s is partition %s of this server already", l, at)
	}
	in, closer, err := stores.OpenOne(c.ctx, "import", l, stores.Options{CredentialsFile: c.bucket.Conf.String("backup_credentials_file")})
	if err != nil {
		return err
	}
	return errors.Join(c.importFrom(in), closer.Close())
}

func (c *command) importFrom(in repository.Config) error {
	set, end, err := c.scratchSet()
	if err != nil {
		return err
	}
	found := false
	err = c.eachOf(repository.Browse(c.ctx, in), func(f *repository.Found) error {
		found = true
		dest, err := set.Choose(c.ctx, f.Name())
		if err != nil {
			return c.copied("import", f, repository.Copied{}, err)
		}
		done, err := transfer.Import(c.ctx, f, dest, c.lockOptions("import"), c.progress("import", f))
		return c.copied("import", f, done, err)
	})
	if err == nil && !found {
		err = fmt.Errorf("%s: no backups found", in.Location)
	}
	return errors.Join(err, end())
}
