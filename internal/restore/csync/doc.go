// Package csync restores into a Cyrus server, as a client of its replication port.
//
// New mailboxes, and messages for mailboxes that are there, come by RESTORE MAILBOX,
// which gives new uids (imap/sync_support.c, sync_restore_mailbox). When uids are to
// be kept and the server lacks the mailbox, it comes by APPLY MAILBOX, as a replica
// gets it: RESTORE would lose LAST_UID and the modseqs of the mailbox list. RESTORE
// never carries mailbox annotations: sync_server 3.6 sets them without the lock on
// the user's name space, which it then asserts (imap/mboxlist.c,
// user_isnamespacelocked), and dies. APPLY takes that lock.
package csync
