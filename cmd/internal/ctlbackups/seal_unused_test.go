package ctlbackups

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/attestation"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A partition that was never used has no list, and does not keep the others from a comparison with a list in a file.
func TestSealsBesideUnusedPartition(t *testing.T) {
	s := sealing(t)
	s.Parts = append(s.Parts, repository.Config{Name: "cold", Location: "memory:cold", Store: memstore.New(func() time.Time { return s.Now })})
	s.finds(nil, "verify", "--seals", s.out+"/default/"+attestation.SignatureKey(1))
	s.seal()
	s.finds(nil, "verify", "--seals", s.out)
}
