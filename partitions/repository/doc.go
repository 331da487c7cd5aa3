// Package repository reads and locks the backups in a bucket, without an index and without
// a daemon (docs/format.md 2).
//
//   - Info is repository.json, BackupInfo is backup.json.
//   - Names map mailboxes to backups, and backups to the prefixes of their objects.
//   - Find, Browse and their variants return a Found, which reads the history of a backup.
//     After a move, Current chooses the copy in use.
//   - A Lock excludes all other writers from a backup.
//   - SetAside moves a backup out of the way, however damaged it is.
package repository
