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
// own reports whether it is that of this process.
func createRepository(ctx context.Context, p *Partition, caps probe.Capabilities) (now *repository.Info, own bool, err error) {
	r := &repository.Info{
		Version: repository.Version, ID: repository.NewID(), Created: p.StoreNow(ctx, time.Time{}).UTC(),
		Software: p.set.opt.Software, Dedup: "partition", Chunker: repository.Chunker, Capabilities: caps, Probed: p.prober(),
	}
	if p.set.opt.DedupPerBackup {
		r.Dedup = "backup"
	}
	if err := p.putIfAbsent(ctx, "README.txt", repository.Readme); err != nil && !errors.Is(err, objstore.ErrExist) {
		return nil, false, err
	}
	b, err := r.Encode()
	if err != nil {
		return nil, false, err
	}
	if err := p.putIfAbsent(ctx, repository.Key, b); err != nil && !errors.Is(err, objstore.ErrExist) {
		return nil, false, err
	}
	// The object in the bucket counts, whichever host has won and even if the result of the
	// put was unclear.
	now, err = await(ctx, func() (*repository.Info, error) { return repository.ReadInfo(ctx, p.store) })
	return now, err == nil && now.ID == r.ID, err
}

// putIfAbsent is repository.PutIfAbsent with the retry policy of ctx.
func (p *Partition) putIfAbsent(ctx context.Context, key string, b []byte) error {
	conditional := p.Conditional()
	return await0(ctx, func() error { return repository.PutIfAbsent(ctx, p.store, key, b, conditional) })
}
