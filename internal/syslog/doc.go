// Package syslog is a log/slog handler that writes to the system log in the format of Cyrus's
// programs (imap/global.c: cyrus_init): ident [prefix/]service with the process id, the facility of
// imapd.conf, the message and then its attributes as key=value.
//
// A slow or missing log daemon never stops the program: messages are dropped and counted, or written
// to standard error.
package syslog
