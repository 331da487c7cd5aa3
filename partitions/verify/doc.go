// Package verify checks a backup against the objects in its bucket, and repairs it as far
// as the bucket allows. It needs no index.
//
// Run reads every commit, checkpoint, block and body, checks their hashes and reports
// problems. Repair verifies first. Under the lock of the backup it then rebuilds
// checkpoints, bridges lost commits, copies bodies from other backups, and records the
// remaining losses, so that the source sends those messages again.
package verify
