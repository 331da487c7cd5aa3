// Package session implements the work of one sync_client connection on backups: it reports
// their state, decides what a command changes, and commits the changes. A Session implements
// replication.Session.
//
// A message takes this path: Message stages its body (message.go). ApplyMailbox reads the
// records (apply_mailbox.go) into a draft of a commit (draft.go), which finds the message of
// each record and commits them together. Rename moves a mailbox between backups (rename.go).
// The answers to GET (get.go, report.go) stay valid to the end of the unit of work, because
// the session keeps the leases of the backups it works on.
package session
