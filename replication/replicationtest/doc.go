// Package replicationtest holds a replication.Backend in memory that answers as
// a correct backup server does, and a client that speaks recorded dialogues.
//
// The Store keeps every field that it is sent and reports it again, so that a
// second synchronisation finds nothing to send (client-behaviour.md 5). It
// stores nothing durably and is for tests only.
package replicationtest
