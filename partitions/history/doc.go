// Package history encodes and decodes the log of one backup: commits, segments,
// checkpoints and record blocks. It also computes the state of the backup from the log.
// The package reads through an objstore.Store. It never puts a commit: package
// partitions does that, and decides which writer wins a commit number.
// docs/format.md describes every byte.
//
// Builder makes the object of a commit. ReadCommit and Log read commits from single
// objects and from segments. Replayer applies their events to a State. Mem is the State
// of this package: Load builds it from the newest checkpoint and the later commits,
// WriteCheckpoint stores it. OpenMessage reads a body from the places in a Mem, and
// Objects saves it requests.
//
// Readers check everything they read: frames by their checksums (package pack), commits
// by the chain of their hashes, blocks and chunks by their names, messages by their
// GUIDs, and counts by adding up the items. An error names the object.
package history
