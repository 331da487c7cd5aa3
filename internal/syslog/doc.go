// Package syslog is a log/slog handler that writes to the system's log as Cyrus's
// programs do (imap/global.c: cyrus_init): ident [prefix/]service with the process id,
// the facility of imapd.conf, the message and then its attributes as key=value.
//
// A log daemon that is slow or away never stops the program: messages are dropped and
// counted, or written to standard error.
package syslog
