// Package dlist reads and writes the data syntax of Cyrus replication
// (imap/dlist.c): the argument of GET and APPLY and the untagged replies.
//
// # Values
//
// A Value is one dlist value in memory. On the wire there are no types beyond
// its shape: numbers, dates and guids are scalars, and the reader of a field
// chooses the type (Value.Num32, Value.GUID, …). A type error wraps ErrField and
// names the key; the stream stays aligned after it.
//
// # Decoding
//
// Decoder reads a stream and holds only scalars in memory, up to its Limits. A
// command is read like this:
//
//	d.Begin()                            // or d.Word() for the verb
//	key, err := d.Key()                  // MAILBOX
//	v, err := d.Value()                  // or KVList, List, File, Scalar, Skip
//	err = d.End()                        // CR? LF
//
// After any error except a connection error, d.SkipLine() moves the stream to the
// end of the command and skips unread literals, file bodies and open lists.
// SkipLine does nothing after End has succeeded, so it may be deferred.
//
// Message bodies are never held in memory: File returns a reader.
//
// # Encoding
//
// Append and AppendString use Cyrus's rules for bare atom, quoted string or
// literal, so that input from Cyrus is encoded to the same bytes. A literal is
// {N} from a server and {N+} from a client: clients since 3.6.5 refuse {N+} from
// a server, and a server that receives {N} tries to ask for the rest of it.
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
// Scalars always stay strings, even if they look like numbers.
package dlist
