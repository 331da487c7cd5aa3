// Package dlist reads and writes the data syntax of Cyrus replication
// (imap/dlist.c): the argument of GET and APPLY and the untagged replies.
//
// # Values
//
// A Value is one dlist value in memory. On the wire there are no types beyond
// its shape: numbers, dates and guids are scalars, and who reads a field says
// what it must be (Value.Num32, Value.GUID, …). Errors of that kind wrap
// ErrField and name the key; they say nothing about the stream, which stays
// aligned.
//
// # Decoding
//
// Decoder walks a stream and keeps nothing but scalars up to its Limits. A
// command is read as
//
//	d.Begin()                            // or d.Word() for the verb
//	key, err := d.Key()                  // MAILBOX
//	v, err := d.Value()                  // or KVList, List, File, Scalar, Skip
//	err = d.End()                        // CR? LF
//
// and, after any error that is not one of the connection, d.SkipLine() brings
// the stream to the end of the command, whatever was left unread of it:
// literals, file bodies, open lists. SkipLine does nothing when End has
// succeeded, so it may be deferred.
//
// Message bodies are never held: File hands out a reader.
//
// # Encoding
//
// Append and AppendString print as Cyrus does: bare atom, quoted string or
// literal by the same rules, so that what Cyrus sent comes out in the same
// bytes. A literal is {N} from a server and {N+} from a client: clients from
// 3.6.5 on refuse a {N+} of a server, and a server that is sent {N} tries to
// ask for the rest of it.
//
// # JSON
//
// Value marshals to JSON without loss (wire, JSON, wire gives the same bytes):
//
//	NIL      null
//	string   "…", or {"b64":"…"} when the bytes are not UTF-8
//	flag     {"flag":"\\Seen"}
//	(…)      [ … ]
//	%(…)     {"kv":[["KEY",value],…]}
//	%{…}     {"file":{"partition":…,"guid":…,"size":"N"}}
//
// No scalar is guessed to be a number: what is not known stays a string.
package dlist
