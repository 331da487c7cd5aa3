package source

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// readEML reads the .eml files of a directory and its subdirectories. Each directory is a
// folder.
func readEML(top string, verbatim bool) ([]Folder, error) {
	var out []Folder
	err := filepath.WalkDir(top, func(dir string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		var files []string
		for _, e := range entries {
			if e.Type().IsRegular() && strings.EqualFold(filepath.Ext(e.Name()), ".eml") {
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
		if len(files) == 0 {
			return nil
		}
		path := below(top, dir)
		for i := range path {
			path[i] = cyrus.UTF7(path[i])
		}
		f, err := fileFolder(path, files, verbatim, func(file string) (int64, []string, error) {
			date, err := modTime(file)
			return date, nil, err
		})
		out = append(out, f)
		return err
	})
	return out, err
}
