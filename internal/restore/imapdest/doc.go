// Package imapdest restores into any IMAP server by APPEND: with flags and internal dates, into
// folders that it creates.
//
// A message counts as present if a journal on this host recorded it, or if the folder has its
// bytes: unchanged, or in a form into which servers are known to change messages (bare line ends,
// NULs, 8-bit headers). The package learns what a server changes by reading back sent messages.
// Nothing else counts, in particular not the Message-ID, because two messages can share one. A
// restore can therefore be stopped and run again, also from another host.
package imapdest
