// Package handover lets several processes share one index, although Badger allows only one
// process to open its directory. master(8) starts a process per address of a service, several
// with prefork, and administrators start them by hand; all of that must work.
//
// There are three files beside the index directory DIR:
//
//	DIR.owner     locked (flock) by the process that has the index open
//	DIR.receiver  locked by the process that serves all connections
//	DIR.sock      UNIX socket of the receiver, mode 0600
//
// Normally one process is both owner and receiver, and every other process passes its
// connections to it before it has sent a byte. A process that drains stops being the receiver at
// once, and stops being the owner when it has closed the index. In between, another process is
// already the receiver: it accepts connections, its own and those of all other processes, greets
// and authenticates, and lets first commands wait for the index (Member.Become). Two locks are
// needed: with a single lock two new processes would both keep connections, and the process that
// does not get the index would keep them for ever.
//
// The kernel releases the locks of a process that is killed.
//
// Each connection uses its own socket and these packets:
//
//	→ hello    version, fingerprint, purpose "pass"
//	← welcome  pid, or the reason for a refusal
//	← ready    when the receiver has room
//	→ pass     the connection's options, and the descriptor (SCM_RIGHTS)
//	← taken
//
// The sender keeps its descriptor until it receives "taken". Without that answer it serves the
// connection itself or tries again. A receiver that cannot deliver "taken" drops the connection.
package handover
