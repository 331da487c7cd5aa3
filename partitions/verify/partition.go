package verify

import (
	"context"
	"sync"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Partitions keeps what Run finds out about the objects that the backups of a partition share, so
// that a check of many backups reads them once. The zero value is ready to use, from many
// goroutines.
type Partitions struct {
	mu      sync.Mutex
	byName  map[string]shared
	stuckIn map[string]stuck // by name
}

// shared is the state of repository.json, condemned.json and upkeep.json; nil errors mean that they
// are sound.
type shared struct {
	repository, condemned, upkeep error
}

// read checks the objects that backups share, or returns what an earlier call has found. The error
// means that the store did not answer.
func (p *Partitions) read(ctx context.Context, c repository.Config) (shared, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.byName[c.Name]; ok {
		return s, nil
	}
	var s shared
	_, s.repository = repository.ReadInfo(ctx, c.Store)
	if s.repository != nil && (objstore.IsTemporary(s.repository) || ctx.Err() != nil) {
		return s, s.repository
	}
	s.condemned = repository.CheckCondemned(ctx, c.Store)
	if s.condemned != nil && !history.IsDamage(s.condemned) {
		return s, s.condemned
	}
	s.upkeep = repository.CheckUpkeepFile(ctx, c.Store, repository.CollectionKey)
	if repository.IsStoreError(s.upkeep) {
		return s, s.upkeep
	}
	if p.byName == nil {
		p.byName = map[string]shared{}
	}
	p.byName[c.Name] = s
	return s, nil
}
