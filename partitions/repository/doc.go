// Package repository reads and locks one bucket as any tool sees it: what it is
// (repository.json), which backups it has, where a backup is used after a move, who holds
// its lock, and what was set aside. It needs no index and no daemon (docs/format.md 2).
//
// Names map mailboxes to backups, and backups to the prefixes of their objects. Find and
// Browse return a Found, which reads the history of a backup. A Lock keeps every writer
// off it.
package repository
