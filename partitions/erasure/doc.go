// Package erasure removes all that a repository has of a backup, before retention would
// (docs/design.md 5, "Erasure").
//
// Erase sets the backup aside, so that no writer touches it any more, and works on copies that
// were set aside only (erase.go). It records the packs with the bodies (packs.go), condemns them,
// and removes the copies with all their former versions (remove.go). Bodies that share a pack with
// those of other backups stay until no writer can rely on an older list of condemned packs. Then
// Finish collects packs: it counts who uses them, removes or rewrites them, and ends the erasure
// (finish.go). The record in erased/ shows where an interrupted erasure continues.
package erasure
