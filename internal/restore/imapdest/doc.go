// Package imapdest restores into any IMAP server, by APPEND: with flags and internal
// dates, into folders that it creates. A message is there already if the folder has
// one with its Message-ID and its size; one without a Message-ID, if the size and the
// internal date are the same. So a restore can be cut and run again.
package imapdest
