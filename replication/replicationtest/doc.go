// Package replicationtest contains an in-memory replication.Backend that answers like a
// correct backup server, and a client that replays recorded dialogues.
//
// The Store keeps every field that it receives and reports it again, so that a second
// synchronisation finds nothing to send (client-behaviour.md 5). Nothing is durable; the
// package is for tests only.
package replicationtest
