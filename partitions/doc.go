// Package partitions is the engine of the backup server. A Set has the configured
// partitions and their common index. A Partition is one repository: a bucket, a prefix or
// a directory with packs, and for each backup a log of commits (docs/design.md 1). A Backup
// is everything held for one user, one tree of shared mailboxes, or the server itself.
//
// The packages below it:
//
//   - history: the bytes of commits, checkpoints and segments, and what a log means
//   - storeclock: the time of a store, estimated from its answers
//   - repository: one bucket as every tool reads it; locks; no index
//   - verify: compares a backup with its bucket, and repairs it; no index
//   - transfer: copies a backup into another partition: move, export, import; no index
//   - session: the work of one sync_client connection, on top of this package
//
// The way of mail: a Stage takes the bodies that a connection sends and puts large ones
// into packs (stage.go, pool.go). A Writer prepares a commit of records and messages
// (writer.go). Backup.commit puts it under the next number of the log and applies the bytes
// that it put to the index (commit.go, apply.go). Checkpoints follow in the background.
//
// The order of effects is the promise of this package: packs and record blocks, then the
// commit that refers to them, then the index, then the answer OK. Removal goes the other
// way round. test/traces shows the order for whole sessions. The index is a cache: nothing
// in it is trusted further than the store has confirmed (prove.go, certain.go), and
// it can be rebuilt from the bucket at any time (rebuild.go).
package partitions
