package partitions

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// owedBytes limits, for each mail server, what the notes take about comparisons of backups that no partition
	// has. Another host may have begun them since the census.
	owedBytes = 256 << 10
	// owedUncounted is the same while no census shows which backups there are: all may exist.
	owedUncounted = 16 << 20
	// owedNote is about what such a note takes in the index, beside the path.
	owedNote = 128
)

// owing is the value of index.OwedKey. Older versions have set only the time, or nothing.
type owing struct {
	At time.Time `json:"at"`
	// Client is the mail server whose command was refused, if no partition had the backup then.
	Client string `json:"client,omitempty"`
}

func (o *owing) parse(value []byte) error {
	if len(value) > 0 && value[0] == '"' {
		return json.Unmarshal(value, &o.At)
	}
	return json.Unmarshal(value, o)
}

// owedNames is what the notes about names without a backup take.
type owedNames struct {
	mu    sync.Mutex
	bytes map[string]int // by mail server; nil: not counted yet
}

func owedSize(path string) int { return owedNote + len(path) }

// add changes the count of a mail server. The caller holds mu. client is "" for a note that does not count.
func (o *owedNames) add(client string, n int) {
	if client == "" || o.bytes == nil {
		return
	}
	if o.bytes[client] += n; o.bytes[client] <= 0 { // a note may not have counted because the backup exists now
		delete(o.bytes, client)
	}
}

// Owe records that the client has to compare a whole backup with GET USER.
func (s *Set) Owe(n repository.Name, client string) error {
	path := n.Path()
	s.owed.mu.Lock()
	defer s.owed.mu.Unlock()
	was, there, err := s.owedNow(path)
	if err != nil {
		return err
	}
	is := owing{At: s.opt.Now()}
	if limit := s.owedLimit(path); limit > 0 {
		is.Client = was.Client
		if !there {
			is.Client = cmp.Or(client, "unknown")
			err = s.mayOwe(path, is.Client, limit)
		}
	}
	if err == nil {
		err = s.index.Update(func(t *index.Txn) error { return setJSON(t, index.OwedKey(path), is) })
	}
	if err != nil {
		return err
	}
	s.owed.add(was.Client, -owedSize(path))
	s.owed.add(is.Client, owedSize(path))
	return nil
}

// mayOwe returns an error if the notes of a mail server about names without a backup take too much. The
// caller holds owed.mu.
func (s *Set) mayOwe(path, client string, limit int) error {
	if err := s.countOwed(); err != nil {
		return err
	}
	if has := s.owed.bytes[client]; has+owedSize(path) > limit {
		return fmt.Errorf("no partition has the backup, and the notes about other such names of %s take %d bytes already", client, has)
	}
	return nil
}

// owedLimit returns the limit for the notes about names without a backup; 0 = a partition has, or had, this
// backup. What cannot be read may be a backup.
func (s *Set) owedLimit(path string) int {
	limit := owedBytes
	err := s.index.View(func(t *index.Txn) error {
		pages, err := s.pages(t)
		if err != nil {
			return err
		}
		for i := range pages {
			if at := pages[i].census; at.IsZero() || apart(at, s.opt.Now()) > CensusAge {
				limit = owedUncounted
			}
		}
		if there, err := hadAny(t, pages, path); there || err != nil {
			limit = 0
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return limit
}

// countOwed counts the notes in the index about names without a backup, unless that was done. The caller holds
// owed.mu.
func (s *Set) countOwed() error {
	if s.owed.bytes != nil {
		return nil
	}
	bytes := map[string]int{}
	err := s.index.View(func(t *index.Txn) error {
		pages, err := s.pages(t)
		if err != nil {
			return err
		}
		for kv, err := range t.Range(index.OwedPrefix(), nil) {
			if err != nil {
				return err
			}
			var is owing
			path := index.OwedPathOf(kv.Key)
			if is.parse(kv.Value) != nil || is.Client == "" {
				continue
			}
			if there, err := hadAny(t, pages, path); !there && err == nil {
				bytes[is.Client] += owedSize(path)
			}
		}
		return nil
	})
	if err == nil {
		s.owed.bytes = bytes
	}
	return err
}

// recountOwed lets the next Owe count again: the census has changed what counts.
func (s *Set) recountOwed() {
	s.owed.mu.Lock()
	defer s.owed.mu.Unlock()
	s.owed.bytes = nil
}

// owedNow returns what Owe has recorded, if Settle has not been called since.
func (s *Set) owedNow(path string) (is owing, there bool, err error) {
	err = s.index.View(func(t *index.Txn) error {
		v, err := t.Get(index.OwedKey(path))
		if errors.Is(err, index.ErrNotFound) {
			return nil
		}
		if there = err == nil; there && is.parse(v) != nil {
			is = owing{} // of an older version
		}
		return err
	})
	return is, there, err
}

// Owes reports whether Owe was called and Settle has not been called since.
func (s *Set) Owes(n repository.Name) (bool, error) {
	_, there, err := s.owedNow(n.Path())
	return there, err
}

// Settle records that the client is comparing the whole backup.
func (s *Set) Settle(n repository.Name) error {
	if owes, err := s.Owes(n); !owes || err != nil {
		return err
	}
	path := n.Path()
	s.owed.mu.Lock()
	defer s.owed.mu.Unlock()
	was, _, err := s.owedNow(path)
	if err == nil {
		err = s.index.Update(func(t *index.Txn) error { return t.Delete(index.OwedKey(path)) })
	}
	if err == nil {
		s.owed.add(was.Client, -owedSize(path))
	}
	return err
}
