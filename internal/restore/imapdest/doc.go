// Package imapdest restores into any IMAP server, by APPEND: with flags and internal
// dates, into folders that it creates.
//
// A message counts as there if a journal on this host says that it was sent, or if its
// bytes are there: as they are, or in a form that servers are known to change messages
// into (bare line ends, NULs, 8-bit headers). What a server does is learned by reading
// back what it was sent. Nothing else counts, least of all a Message-ID: two messages can
// share one. So a restore can be cut and run again, from other hosts too.
package imapdest
