package imapconf

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// memory opens only the given file.
func memory(name, text string) func(string) (io.ReadCloser, error) {
	return func(want string) (io.ReadCloser, error) {
		if want != name {
			return nil, fmt.Errorf("%s: %w", want, fs.ErrNotExist)
		}
		return io.NopCloser(strings.NewReader(text)), nil
	}
}
