package transfer

import (
	"context"
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A daemon may write a checkpoint during a copy. The copier lists checkpoints before
// blocks, so all blocks that the listed checkpoints refer to are listed too. It skips
// checkpoints that appear later: their blocks may be missing from the list, and the log
// contains the same state.

// checkpoints returns the checkpoints that the target lacks, with their ETags, which a
// list need not contain.
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

// packsOfCheckpoints copies the packs that checkpoints name which the target lacks. The target
// may have the blocks of such a checkpoint from an interrupted copy. Without the checkpoint
// nothing names the packs there, so that collection may have removed them since.
func (c *copier) packsOfCheckpoints(ctx context.Context, n uint64) error {
	objects := map[string]bool{}
	for info, err := range c.lacking(ctx, history.CheckpointPrefix(c.from.Path), n) {
		if err != nil {
			return err
		}
		list, err := history.PlaceObjects(ctx, c.from.Partition.Store, info.Key)
		if history.IsUnreadable(err) {
			c.packs.damaged = true // copied unchanged, as a damaged commit
			continue
		}
		if err != nil {
			return err
		}
		for _, o := range list {
			objects[o] = true
		}
	}
	for _, o := range slices.Sorted(maps.Keys(objects)) {
		if err := c.packs.namedIn(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// putCheckpoints copies checkpoints that have not changed since they were listed. If one
// has, its blocks may be new, too: whole is then false, and the caller starts over.
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
	body, etag, drop, err := repository.ReadWhole(ctx, c.from.Partition.Store, info.Key)
	if err != nil {
		return false, err
	}
	defer drop()
	if etag != info.ETag {
		return false, nil
	}
	return true, c.put(ctx, info.Key, body)
}
