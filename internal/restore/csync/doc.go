// Package csync restores into a Cyrus server, as a client of its replication port.
//
// New mailboxes, and messages for existing mailboxes, are sent with RESTORE MAILBOX, which assigns
// new uids (imap/sync_support.c, sync_restore_mailbox). If uids are to be kept and the server lacks
// the mailbox, it is sent with APPLY MAILBOX, as to a replica, because RESTORE would lose LAST_UID
// and the modseqs of the mailbox list. RESTORE never carries mailbox annotations: sync_server 3.6
// sets them without the lock on the user's namespace, then asserts that lock (imap/mboxlist.c,
// user_isnamespacelocked), and crashes. APPLY takes that lock.
package csync
