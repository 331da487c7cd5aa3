package drill

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/cyrusbackup/backupd/internal/restore/filename"
)

// compareAccount compares the subscriptions and the Sieve scripts.
func (d *directory) compareAccount(root *os.Root) error {
	b, err := root.ReadFile(filename.Account)
	if err != nil {
		return err
	}
	var have struct{ Subscriptions []string }
	if err := json.Unmarshal(b, &have); err != nil {
		return err
	}
	var subs []string
	for _, s := range d.account.Subs {
		subs = append(subs, s.Name)
	}
	if !slices.Equal(have.Subscriptions, subs) && len(have.Subscriptions)+len(subs) > 0 {
		d.problem("%s: has other subscriptions than the backup", filename.Account)
	}
	scripts, err := readScripts(root)
	if err != nil {
		return err
	}
	for _, s := range d.account.Scripts {
		if i := slices.Index(scripts, s.Content); i < 0 {
			d.problem("Sieve script %s: was not restored, or has other bytes", s.Filename)
		}
	}
	return nil
}

// readScripts returns the contents of the restored Sieve scripts.
func readScripts(root *os.Root) (out []string, err error) {
	list, err := fs.ReadDir(root.FS(), filename.Scripts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range list {
		if !e.Type().IsRegular() {
			continue
		}
		b, err := root.ReadFile(filename.Scripts + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, string(b))
	}
	return out, err
}
