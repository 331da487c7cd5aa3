package source

import (
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"
)

// readEML reads the .eml files of a directory and of those below it, each of
// which is a folder.
func readEML(top string) ([]Folder, error) {
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
			path[i] = UTF7(path[i])
		}
		f, err := fileFolder(path, files, func(file string) (int64, []string, error) {
			date, err := modTime(file)
			return date, nil, err
		})
		out = append(out, f)
		return err
	})
	return out, err
}

// UTF7 encodes a mailbox name in modified UTF-7 (RFC 3501, 5.1.3).
func UTF7(s string) string {
	enc := base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)
	var sb strings.Builder
	var run []byte // UTF-16, big endian
	flush := func() {
		if len(run) > 0 {
			sb.WriteString("&" + enc.EncodeToString(run) + "-")
			run = run[:0]
		}
	}
	for _, r := range s {
		if r < ' ' || r > '~' {
			for _, u := range utf16.Encode([]rune{r}) {
				run = append(run, byte(u>>8), byte(u))
			}
			continue
		}
		flush()
		sb.WriteRune(r)
		if r == '&' {
			sb.WriteByte('-')
		}
	}
	flush()
	return sb.String()
}
