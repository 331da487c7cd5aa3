// Package attestation makes and checks signed lists of the newest commit of every backup of a partition
// (docs/design.md, "Signed lists"; docs/format.md 11).
//
// The chain of hashes in a log is only as good as its head: whoever may write to the bucket can replace the newest
// commits, or a whole log, by others that are consistent. A list names the head of each log, is signed with a key that
// is not in the bucket, and names the list before it. A copy outside of the bucket shows if the lists themselves were
// removed or set back.
//
// A list is no seal in the sense of a sealed event: that ends the log of a backup that has moved.
package attestation
