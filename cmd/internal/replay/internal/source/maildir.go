package source

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func isMaildir(dir string) bool {
	for _, sub := range []string{"cur", "new"} {
		if st, err := os.Stat(filepath.Join(dir, sub)); err == nil && st.IsDir() {
			return true
		}
	}
	return false
}

// readMaildir reads a Maildir and its subfolders: .Sent.Old as in Maildir++, or nested
// directories. Names must already be in modified UTF-7.
func readMaildir(top string, verbatim bool) ([]Folder, error) {
	var out []Folder
	err := filepath.WalkDir(top, func(dir string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		if n := e.Name(); n == "cur" || n == "new" || n == "tmp" {
			return filepath.SkipDir
		}
		if !isMaildir(dir) {
			return nil
		}
		f, err := readOneMaildir(maildirPath(below(top, dir)), dir, verbatim)
		out = append(out, f)
		return err
	})
	return out, err
}

// maildirPath splits .Sent.Old into its components.
func maildirPath(parts []string) []string {
	var path []string
	for _, p := range parts {
		if rest, dots := strings.CutPrefix(p, "."); dots {
			path = append(path, strings.Split(rest, ".")...)
		} else {
			path = append(path, p)
		}
	}
	return path
}

func readOneMaildir(path []string, dir string, verbatim bool) (Folder, error) {
	var files []string
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil && !os.IsNotExist(err) {
			return Folder{}, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
				files = append(files, filepath.Join(dir, sub, e.Name()))
			}
		}
	}
	// By name without cur or new and without flags, so that reading a message
	// does not give it another uid.
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(uniquePart(a), uniquePart(b)) })
	return fileFolder(path, files, verbatim, func(file string) (int64, []string, error) {
		date, err := maildirDate(file)
		return date, maildirFlags(file), err
	})
}

func uniquePart(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ":")
	return name
}

// maildirDate returns the time of delivery from the file name, or the file's time.
func maildirDate(file string) (int64, error) {
	first, _, _ := strings.Cut(filepath.Base(file), ".")
	if t, err := strconv.ParseInt(first, 10, 64); err == nil && t > 0 {
		return t, nil
	}
	return modTime(file)
}

// maildirFlags parses the flags after :2, in Cyrus's order.
func maildirFlags(file string) []string {
	_, info, ok := strings.Cut(filepath.Base(file), ":2,")
	if !ok {
		return nil
	}
	var flags []string
	for _, f := range []struct{ letter, flag string }{
		{"T", `\Deleted`}, {"R", `\Answered`}, {"F", `\Flagged`}, {"D", `\Draft`}, {"S", `\Seen`}, {"P", "$Forwarded"},
	} {
		if strings.Contains(info, f.letter) {
			flags = append(flags, f.flag)
		}
	}
	return flags
}
