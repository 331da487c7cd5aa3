// Package handover lets many processes serve one index, of which Badger lets only one
// process own the directory. master(8) starts a process per address of a service,
// several with prefork, and people start them by hand; none of that is an error.
//
// Three files lie beside the index directory DIR:
//
//	DIR.owner     locked (flock) by the process that has the index open
//	DIR.receiver  locked by the process that serves everybody's connections
//	DIR.sock      UNIX socket of the receiver, mode 0600
//
// In quiet times owner and receiver are the same process, and every other process
// passes its connections to it, each before its first byte. A process that drains gives
// up being the receiver at once and being the owner when its index is closed. In
// between another one is the receiver already: it takes connections, its own and all
// other processes', greets and authenticates, and lets first commands wait for the
// index (Role.Become). Two locks and not one, because with one lock two newcomers would
// both keep connections, and the one that does not get the index would keep them for ever.
//
// The locks are the kernel's, so a process that was killed holds none.
//
// A connection is passed over a socket of its own, as packets:
//
//	→ hello    version, fingerprint, purpose "pass"
//	← welcome  pid, or the reason why not
//	← ready    when the receiver has room
//	→ pass     the connection's options, and the descriptor (SCM_RIGHTS)
//	← taken
//
// The sender keeps its descriptor until "taken". Without it, it serves the connection
// by itself or asks again; "taken" that could not be delivered takes nothing.
package handover
