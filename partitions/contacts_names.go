package partitions

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A mail server may ask for any number of names. The index gets a contact with a backup only if a partition has
// the backup. Two things are kept without a backup, too, because they may be about a new user: that a command was
// refused, and that a comparison is owed (owing.go). Their number is limited, and the census drops them after namesAge.
const (
	// namesMost is how many refused names without a backup the index has, and the memory, of a mail server.
	namesMost = 1000
	// namesInMemory limits those of all mail servers in memory. They take no place from backups that exist. A mail
	// server with fewer of them takes the place of one with more.
	namesInMemory = contactsMost / 2
	// namesAge is the age of what the census drops.
	namesAge = 7 * 24 * time.Hour
)

// room reports whether there is a place for one more contact, perhaps after it has taken one from the mail server
// that has most of the names. The caller holds mu, as of set.
func (c *contacts) room(v *backupContact) bool {
	switch {
	case !v.nameless:
		return len(c.backups)-c.nameless < contactsMost
	case len(c.names[v.asker]) < namesMost && (c.nameless < namesInMemory || c.pushOut(len(c.names[v.asker])+1)):
		return true
	}
	unlist(c.servers, v.asker)
	return false
}

// pushOut forgets a name of the mail server that has most of them, if that one has more than n.
func (c *contacts) pushOut(n int) bool {
	most := ""
	for client, paths := range c.names {
		if len(paths) > n {
			most, n = client, len(paths)
		}
	}
	for path := range c.names[most] {
		c.remove(path)
		unlist(c.servers, most)
		return true
	}
	return false
}

// unlist records that a refused name of a mail server is not listed.
func unlist(servers map[string]serverContact, client string) {
	if s, there := servers[client]; there {
		s.Unlisted = s.Last
		servers[client] = s
	}
}

// set sets the contact with a backup.
func (c *contacts) set(path string, v backupContact) {
	c.remove(path)
	if v.nameless {
		c.nameless++
		if c.names[v.asker] == nil {
			c.names[v.asker] = map[string]struct{}{}
		}
		c.names[v.asker][path] = struct{}{}
	}
	c.backups[path] = v
}

func (c *contacts) remove(path string) {
	if was := c.backups[path]; was.nameless {
		c.nameless--
		if delete(c.names[was.asker], path); len(c.names[was.asker]) == 0 {
			delete(c.names, was.asker)
		}
	}
	delete(c.backups, path)
}

// nameless reports whether no partition has the backup, as far as the handle and the index know. A handle that
// could not be opened knows nothing.
func (s *Set) nameless(b *Backup) bool {
	if b.Lasts() {
		return false
	}
	there := false
	err := s.index.View(func(t *index.Txn) error {
		pages, err := s.pages(t)
		if err == nil {
			there, err = hadAny(t, pages, b.path)
		}
		return err
	})
	return err != nil || !there
}

// unlisted reports whether refused names of a mail server are not listed, although the census would still have them.
func (s *Set) unlisted(v serverContact) bool {
	return !v.Unlisted.IsZero() && apart(v.Unlisted, s.opt.Now()) <= namesAge
}

// mayHaveRefusal reports whether the index may have a refusal of this path.
func (s *Set) mayHaveRefusal(path string) (there bool) {
	err := s.index.View(func(t *index.Txn) (err error) {
		there, err = t.Has(index.RefusalKey(path))
		return err
	})
	return there || err != nil
}

// limitNames drops the refusals of names without a backup that the index has no place for.
func (s *Set) limitNames(servers map[string]serverContact, backups map[string]backupContact) error {
	return s.index.View(func(t *index.Txn) error {
		var listed map[string]int
		for path, v := range backups {
			if !v.nameless || v.refused == nil {
				continue
			}
			there, err := t.Has(index.RefusalKey(path))
			if there {
				continue // it is replaced
			}
			if err == nil && listed == nil {
				listed, err = s.refusedNames(t)
			}
			if err != nil {
				return err
			}
			if listed[v.asker]++; listed[v.asker] > namesMost {
				delete(backups, path)
				unlist(servers, v.asker)
			}
		}
		return nil
	})
}

// refusedNames counts the refusals of names without a backup, by mail server.
func (s *Set) refusedNames(t *index.Txn) (map[string]int, error) {
	pages, err := s.pages(t)
	if err != nil {
		return nil, err
	}
	n := map[string]int{}
	for kv, err := range t.Range(index.RefusalKey(""), nil) {
		if err != nil {
			return nil, err
		}
		if there, err := hadAny(t, pages, index.PathOf(kv.Key)); there || err != nil {
			continue // what cannot be read may be a backup
		}
		var r repository.Refusal
		if err := json.Unmarshal(kv.Value, &r); err == nil {
			n[r.Client]++
		}
	}
	return n, nil
}

// hadAny reports whether a partition has the backup with this path, or had it when the index got its contact.
func hadAny(t *index.Txn, pages []knownPages, path string) (bool, error) {
	if there, err := t.Has(index.ContactKey(path)); there || err != nil {
		return there, err
	}
	return hasAny(t, pages, path)
}

// forgetNames drops what the index has about names that no partition has a backup of. A refusal and an owed
// comparison stay for namesAge.
func (s *Set) forgetNames() error {
	return s.index.UpdateLong(func(t *index.Txn) error {
		pages, err := s.pages(t)
		if err != nil {
			return err
		}
		return errors.Join(
			dropOld(t, pages, index.ContactPrefix(), index.PathOf, func([]byte) bool { return true }),
			dropOld(t, pages, index.RefusalKey(""), index.PathOf, func(value []byte) bool {
				var r repository.Refusal
				return json.Unmarshal(value, &r) == nil && apart(r.At, s.opt.Now()) > namesAge
			}),
			dropOld(t, pages, index.OwedPrefix(), index.OwedPathOf, func(value []byte) bool {
				var is owing
				return is.parse(value) != nil || apart(is.At, s.opt.Now()) > namesAge
			}))
	})
}

// dropOld deletes the old values about names without a backup.
func dropOld(t *index.Txn, pages []knownPages, prefix index.Key, pathOf func(index.Key) string, old func(value []byte) bool) error {
	for kv, err := range t.Scan(prefix, nil) {
		if err != nil {
			return err
		}
		if !old(kv.Value) {
			continue
		}
		path := pathOf(kv.Key)
		if there, err := t.Has(index.BackupKey(path)); there || err != nil {
			continue // its partition may be configured again
		}
		if there, err := hasAny(t, pages, path); there || err != nil {
			continue // what cannot be read may be a backup
		}
		if err := t.Delete(kv.Key); err != nil {
			return err
		}
	}
	return nil
}
