package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
)

// dry reports what would be written and changes nothing. It reports the same problems with a
// folder as a real run.
func (d *Destination) dry(folders []*restore.Folder) error {
	if err := d.peekShared(d.opt.Many || len(folders) > 1); err != nil {
		return err
	}
	for _, f := range folders {
		err := d.dryFolder(f, d.opt.Many || len(folders) > 1)
		switch {
		case err == nil:
			d.rep.Folder()
		case ends(err):
			return fmt.Errorf("%s: %w", f.Name, err)
		default:
			d.rep.Fail(fmt.Errorf("%s: %w", f.Name, err))
		}
	}
	return nil
}

func (d *Destination) dryFolder(f *restore.Folder, many bool) error {
	m := d.mailbox(f)
	if err := d.claim(m, f.Name); err != nil {
		return err
	}
	have, count, err := d.peek(m, many)
	if err != nil {
		return err
	}
	var size int64
	added := 0
	for m, err := range d.lacking(f.Messages, have) {
		if err != nil {
			return err
		}
		size += int64(m.Size)
		d.rep.Added(1, int64(m.Size))
		if count != nil {
			count.dryMessage(m)
		}
		added++
	}
	d.rep.Say("%s: %s would be written (%d bytes), %d already present", f.Name, english.Plural(added, "message", ""), size, len(f.Messages)-added)
	if count != nil {
		count.name = f.Name
		count.reportResting(len(count.resting))
	}
	return nil
}

// dryMessage counts a message with keywords that have no letter.
func (d *maildir) dryMessage(m *restore.Message) {
	if _, rest := d.flags(m.Flags); len(rest) > 0 {
		d.resting[fmt.Sprintf("%s %d", m.GUID, m.UID)] = true
	}
}

// peek counts the messages that the files of a mailbox have already. It cannot do that for an
// mbox or a tar: these are written completely and then compared.
func (d *Destination) peek(m *mailbox, many bool) (have map[cyrus.GUID]int, count *maildir, err error) {
	levels, file := m.path, ""
	switch {
	case d.opt.Kind == "maildir":
		levels, count = m.levels(), &maildir{opt: &d.opt, rep: d.rep, words: new(alphabet), resting: map[string]bool{}}
	case d.opt.Kind == "mbox" && many:
		last := len(m.path) - 1
		levels, file = m.path[:last], m.path[last]+mboxSuffix
	case d.opt.Kind != "eml":
		return nil, nil, d.peekFile(d.opt.Path)
	}
	dir, err := look(d.opt.Path, levels)
	if err != nil || dir == nil {
		return nil, count, err
	}
	defer dir.Close()
	switch {
	case count != nil:
		have, err = count.peek(dir)
	case file != "":
		err = d.there(dir, file)
	default:
		have, err = new(tree).peek(dir)
	}
	return have, count, err
}

// peekFile examines the place of a single file.
func (d *Destination) peekFile(path string) error {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	return errors.Join(writable(dir), d.there(dir, filepath.Base(path)))
}

// there examines the place of a file that is written as a whole.
func (d *Destination) there(dir *os.Root, name string) error {
	info, err := dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = inTheWay(name, info)
	}
	if err == nil {
		d.rep.Say("%s exists: kept, unless the new file begins with all of it", name)
	}
	return err
}

// look opens the directory of a mailbox; nil if it does not exist. It checks that the missing
// levels could be created.
func look(path string, levels []string) (*os.Root, error) {
	at, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		if err := writable(at); err != nil {
			return nil, errors.Join(err, at.Close())
		}
		if i == len(levels) {
			return at, nil
		}
		next, err := enter(at, levels[i], false)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(fits(at, levels[i:]), at.Close())
		}
		if closed := at.Close(); err != nil || closed != nil {
			return nil, errors.Join(err, closed)
		}
		at = next
	}
}

func writable(at *os.Root) error {
	f, err := at.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Faccessat(int(f.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("%s: directory is not writable: %w", at.Name(), err)
	}
	return nil
}

// fits checks that the file system allows names of this length.
func fits(at *os.Root, levels []string) error {
	f, err := at.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err
	}
	for _, l := range levels {
		if int64(len(l)) > st.Namelen {
			return fmt.Errorf("%s: %w: the file system allows %d bytes", strings.Join(levels, "/"), syscall.ENAMETOOLONG, st.Namelen)
		}
	}
	return nil
}

// peekShared examines the files that all folders share.
func (d *Destination) peekShared(many bool) error {
	if d.opt.Kind == "tar" || d.opt.Kind == "mbox" && !many {
		return nil
	}
	at, err := os.OpenRoot(d.opt.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	return readLines(at, filename.Folders, "path", func([]byte) error { return nil })
}
