// Package transfer copies a backup with all its history into another partition, to move,
// export or import it (docs/format.md 2.1).
//
// What is below backups/ is copied byte for byte; of packs, which backups share, only the
// entries that this backup names go into new packs, and notes in moved/ lead to them.
// Packs are durable before the log names them, and backup.json, which makes the copy
// visible, comes last. Every copy can be interrupted at any point and repeated.
package transfer
