package ctlbackups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/ctlbackups/internal/cyrusdata"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// importAll imports the named exported repositories and data files of Cyrus Backups.
func importAll(c *command) error {
	var files []string
	failed := false
	for _, arg := range c.args {
		l, ours := repositoryAt(arg)
		if !ours {
			files = append(files, arg)
			continue
		}
		if err := c.importRepository(l); errors.Is(err, cli.ErrReported) && !c.stop {
			failed = true
		} else if err != nil {
			return err
		}
	}
	if len(files) > 0 {
		if err := c.importFiles(files); errors.Is(err, cli.ErrReported) {
			failed = true
		} else if err != nil {
			return err
		}
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

// importFiles makes backups out of data files of Cyrus Backups, with the original times.
func (c *command) importFiles(args []string) error {
	files, err := dataFiles(args)
	if err != nil {
		return err
	}
	failed := false
	for _, path := range files {
		lines, err := c.importFile(path)
		word := "ok"
		c.tally.add(repository.Copied{}, err)
		if err != nil {
			word, failed = fmt.Sprintf("failed (%v)", err), true
		}
		if c.structured() {
			err = c.object(struct {
				Command string `json:"command"`
				Path    string `json:"fname"`
				Lines   int    `json:"lines"`
				Status  string `json:"status"`
			}{"import", path, lines, word})
		} else {
			_, err = cli.Fprintf(c.out, "import %s: %s\n", path, word)
		}
		if err != nil {
			return err
		}
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if failed && c.stop {
			break
		}
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

// dataName matches USERID_XXXXXX, but neither indexes nor the files of compaction.
var dataName = regexp.MustCompile(`^.+_[A-Za-z0-9]{6}$`)

// dataFiles returns the named files, and the data files below the named directories.
func dataFiles(args []string) ([]string, error) {
	var out []string
	for _, a := range args {
		info, err := os.Stat(a)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			out = append(out, a)
			continue
		}
		err = filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && dataName.MatchString(d.Name()) {
				out = append(out, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, errors.New("neither a repository (repository.json) nor data files of Cyrus Backups (USERID_XXXXXX) were found")
	}
	return out, nil
}

// importFile replays one file, with a temporary index.
func (c *command) importFile(path string) (lines int, err error) {
	in, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	set, end, err := c.scratchSet()
	if err != nil {
		return 0, err
	}
	lines, err = c.replayFile(set, filepath.Base(path), in)
	return lines, errors.Join(err, end())
}

func (c *command) replayFile(set *partitions.Set, name string, in *os.File) (lines int, err error) {
	r, err := startReplay(c.ctx, set, "data file "+name)
	if err != nil {
		return 0, err
	}
	refused := 0
	err = cyrusdata.Read(in, func(l cyrusdata.Line) error {
		why, err := r.apply(l)
		if err != nil {
			return err
		}
		lines++
		if why != "" {
			refused++
			cli.Fprintf(c.err, "%s: line %d was rejected: %s\n", name, l.Number, why)
		}
		return nil
	})
	if err == nil && refused > 0 {
		err = fmt.Errorf("%d of %d lines were rejected", refused, lines)
	}
	return lines, errors.Join(err, r.close())
}
