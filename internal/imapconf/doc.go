// Package imapconf reads imapd.conf by the rules of Cyrus IMAP (lib/libconfig.c), so
// that one file serves Cyrus's programs and ours.
//
// What Cyrus accepts is accepted with the same meaning; what it refuses is refused, but
// with every fault reported at once. An option that is not in the table is kept as a
// string: the file also holds what is meant for other programs.
package imapconf
