package files

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// keywordsFile is the file where Dovecot lists the keywords for the letters a to z.
const keywordsFile = "dovecot-keywords"

// mostLetters is how many keywords Dovecot's format allows in a folder.
const mostLetters = 26

// alphabet is the set of keywords of a Maildir folder.
type alphabet struct {
	words   [mostLetters]string // "" = the letter is free
	changed bool                // since it was read or written
}

// readAlphabet reads an existing list, which may be Dovecot's.
func readAlphabet(at *os.Root) (*alphabet, error) {
	a := new(alphabet)
	f, err := openRegular(at, keywordsFile, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		number, word, ok := strings.Cut(sc.Text(), " ")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n < 0 || n >= mostLetters || word == "" || a.words[n] != "" {
			return nil, fmt.Errorf("%s: %w", keywordsFile, ErrExists)
		}
		a.words[n] = word
	}
	return a, sc.Err()
}

// letter returns the letter of a keyword; false if none is free.
func (a *alphabet) letter(word string) (byte, bool) {
	for i, w := range a.words {
		if strings.EqualFold(w, word) {
			return 'a' + byte(i), true
		}
	}
	for i, w := range a.words {
		if w == "" {
			a.words[i], a.changed = word, true
			return 'a' + byte(i), true
		}
	}
	return 0, false
}

// write updates the file. Whenever the run is interrupted, the file has either the old keywords
// or the new ones.
func (a *alphabet) write(at *os.Root) error {
	if !a.changed {
		return nil
	}
	p, err := newPartial(at, "tmp", keywordsFile)
	if err != nil {
		return err
	}
	defer p.abandon()
	for i, w := range a.words {
		if w == "" {
			continue
		}
		if _, err := fmt.Fprintf(p, "%d %s\n", i, w); err != nil {
			return err
		}
	}
	// The new file has every keyword of the old one.
	if err := at.Rename(p.name, keywordsFile); err != nil {
		return err
	}
	a.changed = false
	return nil
}

// readWords reads a list with one word per line.
func readWords(r io.Reader) (map[string]bool, error) {
	out := map[string]bool{}
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		out[sc.Text()] = true
	}
	return out, sc.Err()
}
