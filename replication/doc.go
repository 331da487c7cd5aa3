// Package replication is the server side of Cyrus's replication protocol
// ("csync"), as a backup server speaks it to an unmodified sync_client(8). It
// knows the wire; whoever keeps the data implements Session.
//
// # A connection
//
//	S: banner                  what can be done here, ending in "* OK …"
//	C: AUTHENTICATE, STARTTLS  before login (a UNIX socket's peer is logged in)
//	C: COMPRESS DEFLATE        if it was offered
//	C: GET … / APPLY …         one command, one answer, never pipelined
//	C: RESTART                 end of a unit of work: locks and staging are given up
//	C: EXIT                    "OK Finished" and a close
//
// There are no tags and no keep-alives. An answer is any number of untagged
// lines and one status line, which always has text after its first word. The
// output is flushed before a read that would block, and not otherwise.
//
// # What must hold
//
//   - A command is read to its end, literals and file bodies included, before it
//     is answered or refused: the next command must parse.
//   - OK is written after the Session has returned nil, and what that means is
//     said at Session.
//   - Nothing from the wire is held in memory without a bound: message bodies and
//     RECORDs are streams.
//   - LOCKED is answered only where the client takes it as "later"; what other
//     commands do when they cannot be carried out is in the tables of get.go and
//     apply.go, and the reasons are at failurePolicy.
//   - A client that is refused again and again is slowed down, since it comes
//     back at once and for ever (see slowdown).
//   - Never NO IMAP_SYNC_CHECKSUM: it makes the client change its own mailboxes.
//
// # Names
//
// Each GET and APPLY has a file of its own named after the word on the wire.
// Facts about Cyrus are cited by its file and function.
package replication
