package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
)

// accountJSON encodes the data that belongs to no mailbox, for people and programs.
func accountJSON(a *restore.Account) ([]byte, error) {
	type script struct {
		Name   string `json:"name"`
		Active bool   `json:"active"`
	}
	out := struct {
		Subscriptions []string `json:"subscriptions"`
		Scripts       []script `json:"scripts"`
		Quotas        any      `json:"quotas,omitempty"`
		Seen          any      `json:"seen,omitempty"`
		Annotations   any      `json:"annotations,omitempty"`
	}{Subscriptions: []string{}, Scripts: []script{}, Quotas: a.Quotas, Seen: a.Seen, Annotations: a.Annotations}
	for _, s := range a.Subs {
		out.Subscriptions = append(out.Subscriptions, s.Name)
	}
	for _, s := range a.Scripts {
		name := restore.ScriptName(s.Filename)
		active := len(a.Active) > 0 && restore.ScriptName(a.Active[0].Filename) == name
		out.Scripts = append(out.Scripts, script{name, active})
	}
	b, err := json.MarshalIndent(out, "", "  ")
	return append(b, '\n'), err
}

// script returns the file name of a script.
func script(file string) string {
	return filename.Component(restore.ScriptName(file)) + ".sieve"
}

// putScripts writes the scripts into a directory, and active as a link to the active one. It
// returns an error for each file that it could not write.
func putScripts(at *os.Root, a *restore.Account) []error {
	if len(a.Scripts)+len(a.Active) == 0 {
		return nil
	}
	dir, err := enter(at, filename.Scripts, true)
	if err != nil {
		return []error{err}
	}
	defer dir.Close()
	if err := sweep(dir, ".", ""); err != nil {
		return []error{err}
	}
	var out []error
	for _, s := range a.Scripts {
		if err := put(dir, script(s.Filename), s.Content); err != nil {
			out = append(out, fmt.Errorf("sieve/%w", err))
		}
	}
	for _, e := range a.Active {
		to := script(e.Filename)
		err := dir.Symlink(to, "active")
		if was, _ := dir.Readlink("active"); errors.Is(err, fs.ErrExist) && was == to {
			continue
		}
		if errors.Is(err, fs.ErrExist) {
			err = ErrExists
		}
		if err != nil {
			out = append(out, fmt.Errorf("sieve/active: %w", err))
		}
	}
	return out
}

// putSubscriptions writes the list of subscriptions. It does not change an existing list, and
// returns an error if that list is incomplete.
func putSubscriptions(at *os.Root, name string, subs []string) error {
	if len(subs) == 0 {
		return nil
	}
	f, err := openRegular(at, name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return put(at, name, strings.Join(subs, "\n")+"\n")
	}
	if err != nil {
		return err
	}
	have, err := readWords(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, s := range subs {
		if !have[s] {
			return fmt.Errorf("%s: %w", name, ErrExists)
		}
	}
	return nil
}

// problems collects errors.
func problems(err error, more []error) []error {
	if err != nil {
		return append([]error{err}, more...)
	}
	return more
}
