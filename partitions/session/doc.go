// Package session is what one sync_client connection does to backups: it reports their
// state, decides what a command changes, and commits that. A Session implements
// replication.Session.
//
// The way of mail: Message stages a body (message.go), ApplyMailbox reads the records
// (apply_mailbox.go) into a draft of a commit (draft.go), which finds the message of each
// record and commits them together. Rename moves a mailbox between backups (rename.go).
// The answers to GET (get.go, report.go) stay valid to the end of its unit of work,
// because the session keeps the leases of the backups that it works on.
package session
