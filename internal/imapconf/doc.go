// Package imapconf reads imapd.conf by the rules of Cyrus IMAP (lib/libconfig.c), so that Cyrus's
// programs and ours can share one file.
//
// It accepts and refuses the same files as Cyrus, with the same meaning, but reports all faults at
// once. Options that are not in the table are kept as strings, because the file also has options of
// other programs.
package imapconf
