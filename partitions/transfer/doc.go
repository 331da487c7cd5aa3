// Package transfer copies a backup with all its history into another partition, to move,
// export or import it (docs/format.md 2.1).
//
// Objects below backups/ are copied byte for byte. Packs are shared between backups, so
// the entries that this backup refers to are copied into new packs, and notes in moved/
// record where they are. Packs are durable before the log refers to them, and backup.json,
// which makes the copy visible, comes last. After an interruption at any point, the same
// call finishes the copy.
package transfer
