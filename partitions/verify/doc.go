// Package verify compares a backup with the objects of its bucket, and repairs what the
// bucket alone can repair.
//
// Run reads every commit, checkpoint, block and body by its hashes and reports problems.
// Repair verifies first, and then mends checkpoints, bridges lost commits, takes bodies
// from other copies, and records what is lost, so that the source sends it again. It works
// under the lock of the backup. Neither needs an index.
package verify
