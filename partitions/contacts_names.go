package partitions

import "github.com/cyrusbackup/backupd/index"

// A mail server may ask for any number of names. The index gets a contact with a backup only if a partition has
// the backup. A refusal is kept without a backup too, because it shows that the first sync of a user has failed,
// but not if there are refusedMost already.
const refusedMost = 10000

// names decides which contacts the index gets.
type names struct {
	t       *index.Txn
	pages   []knownPages // of all partitions
	refused int          // refusals in the index; -1: not counted yet
}

// dropNameless drops contacts with names that no partition has a backup of, as far as the index knows.
func (s *Set) dropNameless(backups map[string]backupContact) error {
	return s.index.View(func(t *index.Txn) error {
		pages, err := s.pages(t)
		if err != nil {
			return err
		}
		n := names{t: t, pages: pages, refused: -1}
		for path, v := range backups {
			keep, err := n.keeps(path, &v)
			if err != nil {
				return err
			}
			if backups[path] = v; !keep {
				delete(backups, path)
			}
		}
		return nil
	})
}

// keeps reports whether the index gets a contact, and sets nameless.
func (n *names) keeps(path string, v *backupContact) (bool, error) {
	known, err := n.known(path)
	if v.nameless = !known; known || err != nil {
		return known, err
	}
	if there, err := n.t.Has(index.RefusalKey(path)); there || err != nil {
		return there, err // to be ended or replaced
	}
	if v.refused == nil {
		return false, nil
	}
	if err := n.count(); err != nil {
		return false, err
	}
	n.refused++
	return n.refused <= refusedMost, nil
}

// known reports whether a partition has the backup, or had it when the index got its contact.
func (n *names) known(path string) (bool, error) {
	if there, err := n.t.Has(index.ContactKey(path)); there || err != nil {
		return there, err
	}
	return hasAny(n.t, n.pages, path)
}

// count counts the refusals in the index unless that is done.
func (n *names) count() error {
	if n.refused >= 0 {
		return nil
	}
	n.refused = 0
	for _, err := range n.t.Keys(index.RefusalKey(""), nil, refusedMost) {
		if err != nil {
			return err
		}
		n.refused++
	}
	return nil
}
