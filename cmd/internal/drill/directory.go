package drill

import (
	"context"
	"fmt"
	"os"

	"github.com/cyrusbackup/backupd/internal/restore/files"
)

// directory is a place for files.
type directory struct {
	*drill
	dir string
}

func (d *directory) prepare(context.Context) (done func() error, err error) {
	d.dir, done, err = scratch(d.Scratch)
	return done, err
}

func (d *directory) some() bool { return len(d.sel.Folders) > 0 }

// restore writes the files.
func (d *directory) restore(ctx context.Context) error {
	n, size := d.sel.Messages()
	if err := checkSpace(d.Scratch, n, size); err != nil {
		return err
	}
	rep := d.report()
	err := files.New(d.src, rep, files.Options{Kind: "eml", Path: d.dir, DefaultDomain: d.DefaultDomain,
		DeletedPrefix: d.DeletedPrefix, AdminForm: d.AdminForm}).Restore(ctx, d.sel.Folders, d.account)
	d.restored(rep)
	return err
}

// compare reads the files.
func (d *directory) compare(ctx context.Context) error {
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	paths, err := readFolders(root)
	if err != nil {
		return err
	}
	for _, f := range d.sel.Folders {
		path, ok := paths[f.From.UniqueID]
		if !ok {
			d.problem("%s: was not restored", f.Name)
			continue
		}
		if err := d.folder(ctx, root, path, f); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		d.out.Mailboxes++
	}
	return d.compareAccount(root)
}
