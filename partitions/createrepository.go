package partitions

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// createRepository writes README.txt and repository.json after a successful probe of the
// store. Two hosts may do this at the same time. The first repository.json is used then.
func createRepository(ctx context.Context, p *Partition, caps probe.Capabilities) (*repository.Info, error) {
	r := &repository.Info{
		Version: repository.Version, ID: repository.NewID(), Created: p.StoreNow(ctx, time.Time{}).UTC(),
		Software: p.set.opt.Software, Dedup: "partition", Chunker: repository.Chunker, Capabilities: caps, Probed: p.prober(),
	}
	if p.set.opt.DedupPerBackup {
		r.Dedup = "backup"
	}
	if err := p.putIfAbsent(ctx, "README.txt", repository.Readme); err != nil && !errors.Is(err, objstore.ErrExist) {
		return nil, err
	}
	b, err := r.Encode()
	if err != nil {
		return nil, err
	}
	if err := p.putIfAbsent(ctx, repository.Key, b); err != nil && !errors.Is(err, objstore.ErrExist) {
		return nil, err
	}
	// The object in the bucket counts, whichever host has won and even if the result of the
	// put was unclear.
	return await(ctx, func() (*repository.Info, error) { return repository.ReadInfo(ctx, p.store) })
}

// putIfAbsent is repository.PutIfAbsent with the retry policy of ctx.
func (p *Partition) putIfAbsent(ctx context.Context, key string, b []byte) error {
	conditional := p.Conditional()
	return await0(ctx, func() error { return repository.PutIfAbsent(ctx, p.store, key, b, conditional) })
}
