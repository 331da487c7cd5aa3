// Package client is the sending side of Cyrus replication: what sync_client
// does, for tools that push mail to a backup server or restore from one into a
// sync_server, and for tests.
//
// A Client is one connection. Dial connects, reads the banner, starts TLS, logs
// in and starts compression; then each method is one command and its answer (or
// a few, where the protocol limits what a command may carry). The protocol has
// no pipelining. A *Refusal is the server's NO, BAD or BYE and leaves the
// connection usable, but for BYE; after any other error it is broken and every
// method returns that error.
//
// Message bodies and records are streamed: nothing is held but lists of GUIDs.
package client
