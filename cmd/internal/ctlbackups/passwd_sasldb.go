package ctlbackups

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/ctlbackups/internal/sasldb"
)

// readAccounts reads the users of c.source: a database, its dump, or - for a dump on standard input.
func (c *command) readAccounts() ([]*account, error) {
	if c.source == "-" {
		all, err := collectAccounts(c.in)
		if errors.Is(err, sasldb.ErrDatabase) {
			err = fmt.Errorf("%w: give the name of the file instead of -", err)
		}
		return all, err
	}
	f, err := os.Open(c.source)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	head := make([]byte, sasldb.MagicSize)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.Unwrap(err)
	}
	if format := sasldb.Recognise(head[:n]); format != nil {
		return c.dumpAccounts(format)
	}
	all, err := collectAccounts(io.MultiReader(bytes.NewReader(head[:n]), f))
	if info, bad := f.Stat(); err == nil && bad == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		cli.Fprintf(c.err, "ctl_backups: %s has passwords, and everybody can read it: remove it\n", c.source)
	}
	return all, err
}

// dumpAccounts runs the tool of a database, and reads the dump from it. The passwords are neither in a file nor in an argument.
func (c *command) dumpAccounts(format *sasldb.Format) ([]*account, error) {
	path, err := filepath.Abs(c.source)
	if err != nil {
		return nil, err
	}
	tool := ""
	for _, name := range format.Tools {
		if found, err := exec.LookPath(name); err == nil && tool == "" {
			tool = found
		}
	}
	if tool == "" {
		return nil, fmt.Errorf("it is a database (%s), and %s is missing: install it (%s), or run this where it is installed: %s | ctl_backups passwd --import -",
			format.Name, format.Tools[0], format.Packages, strings.Join(format.Command(format.Tools[0], path), " "))
	}
	argv := format.Command(tool, path)
	cmd := exec.CommandContext(c.ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	complaint := &beginning{}
	cmd.Stderr = complaint
	dump, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	all, fault := collectAccounts(dump)
	n, _ := dump.Read(make([]byte, 1))
	_ = dump.Close() // ends a tool that has more to write
	err = cmd.Wait()
	switch {
	case c.ctx.Err() != nil:
		return nil, c.ctx.Err()
	case n > 0: // the dump is refused, and the tool has failed because of that
		return nil, fault
	case err != nil: // this is why the dump is not complete
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(complaint.String()))
	}
	return all, fault
}

// beginning keeps the first bytes of the output.
type beginning struct{ bytes.Buffer }

func (b *beginning) Write(p []byte) (int, error) {
	if room := 1024 - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// collectAccounts reads a dump.
func collectAccounts(r io.Reader) ([]*account, error) {
	var all []*account
	known := make(map[[2]string]*account)
	err := sasldb.Read(r, func(e sasldb.Entry) error {
		a := known[[2]string{e.User, e.Realm}]
		if a == nil {
			a = &account{user: e.User, realm: e.Realm}
			known[[2]string{e.User, e.Realm}] = a
			all = append(all, a)
		}
		if e.Property == sasldb.Password {
			a.password = string(e.Value)
		} else {
			a.hashes = append(a.hashes, e.Property)
		}
		return nil
	})
	return all, err
}
