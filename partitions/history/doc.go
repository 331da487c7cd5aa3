// Package history is the log of one backup: commits, segments, checkpoints and
// record blocks as bytes, and the state that they add up to. It reads through an
// objstore.Store and never writes a commit itself: who wins a number is decided in
// package partitions. docs/format.md describes every byte.
//
// Builder makes the object of a commit; ReadCommit and Log read commits back, out of
// single objects and segments. Replayer applies their events to a State, of which this
// package has one, Mem: Load makes it from the newest checkpoint and the commits
// after it, WriteCheckpoint stores it. OpenMessage reads a body by the places that a
// Mem knows; Objects spares it requests.
//
// What is read is checked: frames by their checksums (package pack), commits by the
// chain of their hashes, blocks and chunks by their names, messages by their GUIDs,
// counts by the sums of what they count. An error names the object.
package history
