// Package tlsconf makes crypto/tls configurations from the tls_ options of imapd.conf,
// with the meaning that they have in Cyrus (imap/tls.c) as far as Go's TLS allows.
package tlsconf
