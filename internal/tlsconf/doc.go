// Package tlsconf builds crypto/tls configurations from the tls_ options of imapd.conf, with their
// meaning in Cyrus (imap/tls.c) as far as Go's TLS supports it.
package tlsconf
