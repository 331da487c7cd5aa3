package partitions

import (
	"errors"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// reach decides since when backups may miss changes (design.md 5, Contact).
type reach struct {
	servers map[string]serverContact
	// all is when the last of all mail servers was in contact, the one that is silent for longest: no
	// backup of an unknown server misses an earlier change. Zero = no server is known.
	all time.Time
}

func readReach(t *index.Txn) (r reach, err error) {
	r.servers, err = servers(t)
	for _, v := range r.servers {
		if r.all.IsZero() || v.Last.Before(r.all) {
			r.all = v.Last
		}
	}
	return r, err
}

// add adds the contacts of a page of backups. Paths are those of the page, and end with a slash; after is the
// last path before it.
func (r *reach) add(t *index.Txn, page []Known, paths []string, after string) error {
	contacts, err := matching[backupContact](t, index.ContactPrefix(), paths, after)
	if err != nil {
		return err
	}
	refusals, err := matching[repository.Refusal](t, index.RefusalKey(""), paths, after)
	if err != nil {
		return err
	}
	for i := range page {
		r.addOne(&page[i], contacts[i], refusals[i])
	}
	return nil
}

// addOne adds the contact of a backup. own and refusal may be nil.
func (r *reach) addOne(k *Known, own *backupContact, refusal *repository.Refusal) {
	if own != nil {
		k.Client, k.Contact = own.Client, own.At
	}
	switch {
	case refusal != nil:
		k.Refused = refusal
		if k.Client == "" {
			k.Client = refusal.Client
		}
	case own == nil:
		k.Contact = r.all
	default:
		k.Contact = later(own.At, r.servers[own.Client].Last)
	}
}

// forgetContact drops the contact of a backup that a partition no longer has.
func forgetContact(t *index.Txn, partition, path string) error {
	e, there, err := getJSON[entry](t, index.BackupKey(path))
	if err != nil || there && e.Partition != partition {
		return err
	}
	return errors.Join(deleteIfThere(t, index.ContactKey(path)), deleteIfThere(t, index.RefusalKey(path)))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
