// Package sasldb reads the users of a database of Cyrus SASL (sasldb2) from its dump as text, which the tools of each
// database write: db_dump and mdb_dump in one form, gdbm_dump in another. It does not read the databases themselves.
//
// No error contains a key or a value, because a value is a password in plain text.
package sasldb
