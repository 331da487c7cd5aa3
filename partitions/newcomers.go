package partitions

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// addNewcomers adds the refused backups that no partition has as far as the index knows: the first
// sync of a user was refused, or its objects cannot be read and were not counted yet.
func (s *Set) addNewcomers(out *Status) error {
	for after, end := "", false; !end; {
		err := s.index.View(func(t *index.Txn) error {
			refused, last, err := someAfter(t, index.RefusalKey(""), after)
			if err != nil {
				return err
			}
			after, end = last, last == ""
			return s.newcomers(t, out, refused)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// newcomers adds those of some refusals that are of a backup in no partition.
func (s *Set) newcomers(t *index.Txn, out *Status, refused []atPath) error {
	pages, err := s.pages(t)
	if err != nil {
		return err
	}
	for _, x := range refused {
		path := strings.TrimSuffix(x.path, "/")
		there, err := hasAny(t, pages, path)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		var r repository.Refusal
		if err := json.Unmarshal(x.value, &r); err != nil {
			return err
		}
		out.names[r.Client]++
		out.lacks(refusedOf(&r, Behind{Partition: choose(s.parts, path).name, Path: path, Name: nameIn(path), Client: r.Client}))
	}
	return nil
}

// pages returns the facts of each partition.
func (s *Set) pages(t *index.Txn) (all []knownPages, err error) {
	for _, p := range s.parts {
		k := knownPages{partition: p.name}
		if k.census, err = lastCensus(t, p.name); err != nil && !errors.Is(err, ErrNoCensus) {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

// nameIn returns the name in a path, or its encoded end if that has no whole name.
func nameIn(path string) string {
	if n, ok := repository.NameOf(path); ok {
		return n.Full
	}
	_, enc, _ := strings.Cut(path, "/")
	return enc
}

// hasAny reports whether one of the partitions has the backup with this path.
func hasAny(t *index.Txn, pages []knownPages, path string) (there bool, err error) {
	for i := range pages {
		if there, err = pages[i].has(t, path); there || err != nil {
			break
		}
	}
	return there, err
}
