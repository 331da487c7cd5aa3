// Package replication is the server side of Cyrus's replication protocol
// ("csync"), as a backup server speaks it to an unmodified sync_client(8). It
// knows the wire protocol; a Session implements the storage.
//
// # A connection
//
//	S: banner                  the capabilities, then "* OK …"
//	C: AUTHENTICATE, STARTTLS  before login (a UNIX socket's peer is logged in)
//	C: COMPRESS DEFLATE        if offered
//	C: GET … / APPLY …         one command, one answer, never pipelined
//	C: RESTART                 end of a unit of work: locks and staging are released
//	C: EXIT                    "OK Finished" and a close
//
// There are no tags and no keep-alives. An answer is any number of untagged
// lines and one status line, which always has text after its first word. The
// output is flushed only before a read that would block.
//
// # Rules
//
//   - A command is read to its end, literals and file bodies included, before it
//     is answered or refused: the next command must parse.
//   - OK is written after the Session has returned nil. See Session for what nil
//     guarantees.
//   - Nothing from the wire is held in memory without a limit: message bodies and
//     RECORDs are streams.
//   - LOCKED is answered only where the client treats it as "later". The tables of
//     get.go and apply.go define the answer of every other command that cannot be
//     executed; failurePolicy gives the reasons.
//   - Repeated refusals are slowed down, because the client retries at once and
//     without end (see slowdown).
//   - Never NO IMAP_SYNC_CHECKSUM: it makes the client change its own mailboxes.
//
// # Names
//
// Each GET and APPLY has its own file, named after the word on the wire.
// Facts about Cyrus name its file and function.
package replication
