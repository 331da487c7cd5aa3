package transfer

import (
	"context"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A daemon may write a checkpoint while its backup is copied. Those that are copied are
// looked at before the blocks are listed: all that they name is there then. What is put
// later may name blocks that are not, and is left out, for the log tells the same.

// checkpoints are those that the other partition lacks, each with its ETag, which a list
// need not give.
func (c *copier) checkpoints(ctx context.Context, n uint64) (out []objstore.Info, err error) {
	for info, err := range c.lacking(ctx, history.CheckpointPrefix(c.from.Path), n) {
		if err != nil {
			return nil, err
		}
		info, err = c.from.Partition.Store.Stat(ctx, info.Key)
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}

// putCheckpoints copies those that are as they were. One that is not was put anew, beside
// other blocks: whole is false then, and all is to be looked at again.
func (c *copier) putCheckpoints(ctx context.Context, list []objstore.Info) (whole bool, err error) {
	whole = true
	for _, info := range list {
		same, err := c.checkpoint(ctx, info)
		if err != nil {
			return false, err
		}
		if whole = whole && same; !same {
			continue
		}
		c.done.Objects++
		c.done.Bytes += info.Size
		c.report()
	}
	return whole, nil
}

func (c *copier) checkpoint(ctx context.Context, info objstore.Info) (same bool, err error) {
	body, etag, drop, err := repository.Hold(ctx, c.from.Partition.Store, info.Key)
	if err != nil {
		return false, err
	}
	defer drop()
	if etag != info.ETag {
		return false, nil
	}
	return true, c.put(ctx, info.Key, body)
}
