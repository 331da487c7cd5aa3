// Package tripwire finds backups whose mail server has deleted much of the mail in a short
// time. Ransomware and a bad script look like this, and then the backup is all that is left:
// a hold keeps retention and compaction off it until a person releases it.
//
// It compares two states of the backup, so it does not depend on how the mail server deleted
// the messages: expunged, in a deleted mailbox, moved to the trash, or replaced by others.
package tripwire
