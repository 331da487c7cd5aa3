package history

import (
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// check refuses a block that no writer names: a forged count must not choose how much memory a reader takes, and a
// forged key must not make it open other objects, or end the work on all backups because the store refuses the key.
func (r *BlockRef) check() error {
	if err := r.checkCount(); err != nil {
		return err
	}
	if !plainKey(r.Object) || !strings.HasPrefix(r.Object, "backups/") || !strings.Contains(r.Object, "/records/") || !strings.HasSuffix(r.Object, objectSuffix) {
		return fmt.Errorf("%w: block %s in object %q", ErrCorrupt, r.SHA256, r.Object)
	}
	return nil
}

// checkCount is check for a block whose object is listed elsewhere.
func (r *BlockRef) checkCount() error {
	if r.Count < 0 || r.Count > max(RecordsPerBlock, linesPerBlock) {
		return fmt.Errorf("%w: block %s of %d lines", ErrCorrupt, r.SHA256, r.Count)
	}
	return nil
}

// check refuses an event with a block that no writer names.
func (e *RecordBlocksEvent) check() error {
	for i := range e.Blocks {
		if err := e.Blocks[i].check(); err != nil {
			return fmt.Errorf("recordblocks event: %w", err)
		}
	}
	return nil
}

// mostNamed is more than any key has that an object names. The key in the store has the prefix of the partition too.
const mostNamed = 512

// plainKey reports whether every store can hold an object with this key, which another object names.
func plainKey(key string) bool {
	return len(key) <= mostNamed && objstore.CheckKey(key) == nil
}
