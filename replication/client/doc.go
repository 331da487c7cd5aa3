// Package client is the sending side of Cyrus replication, like sync_client. Tools use it
// to push mail to a backup server or to restore mail into a sync_server; tests use it too.
//
// A Client is one connection. Dial connects, reads the banner, starts TLS, logs in and
// starts compression. Each further method sends one command and reads its answer (or a few
// commands, where the protocol limits the size of a command). The protocol has no
// pipelining. A *RefusedError is the server's NO, BAD or BYE. After NO and BAD the connection
// stays usable. After any other error it is broken and every method returns that error.
//
// Message bodies and records are streamed; only lists of GUIDs are held in memory.
package client
