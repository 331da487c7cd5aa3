package partitions

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ForgetServer drops what the index knows about a mail server that is gone: its last contact, and the
// refusals of its commands. Its backups stay, and keep the time when it last reached them. After nil this
// host puts nothing about the mail server into a bucket, unless it comes back: then it is known again.
func (s *Set) ForgetServer(ctx context.Context, client string) error {
	done, err := s.beginPuts(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := s.FlushContacts(); err != nil {
		return err
	}
	return s.index.UpdateLong(func(t *index.Txn) error {
		return errors.Join(deleteIfThere(t, index.ServerKey(client)), forgetRefusals(t, client))
	})
}

// forgetRefusals drops the refusals of a mail server.
func forgetRefusals(t *index.Txn, client string) error {
	for kv, err := range t.Scan(index.RefusalKey(""), nil) {
		if err != nil {
			return err
		}
		var r repository.Refusal
		if err := json.Unmarshal(kv.Value, &r); err != nil {
			return err
		}
		if r.Client != client {
			continue
		}
		if err := t.Delete(kv.Key); err != nil {
			return err
		}
	}
	return nil
}

func deleteIfThere(t *index.Txn, k index.Key) error {
	there, err := t.Has(k)
	if err == nil && there {
		err = t.Delete(k)
	}
	return err
}
