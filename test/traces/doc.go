// Package traces records the order of effects of whole sessions as text. The real server runs
// over a bucket in memory and a real index. A client talks to it over a net.Pipe. Commands,
// answers, writes to the bucket, and transactions of the index go into one list:
//
//	C: APPLY MAILBOX %(… MBOXNAME user.anne … RECORD (%(…)))
//	    put    packs/pack-1
//	    index  +shared message
//	    put    backups/user/anne/log/2
//	    index  +message, +record, backup, mailbox
//	S: OK Success
//
// This is the promise of the project (docs/design.md, promises 1 and 3): mail is durable
// before a commit names it, the commit before the index shows it, and the index before the
// client reads OK. The lists are in testdata/*.txt. A comment at the top explains each of them.
//
// C: is a command and S: a line of the answer, both shortened (…). The lines between them are
// the work that the server did before it answered:
//
//   - put and delete appear when the store has finished them. Keys are shortened: numbers
//     have no leading zeros, and hashes are replaced by pack-1, blocks-1, … in order of appearance.
//     Only one test lists reads (get, stat, list) too.
//   - probe replaces all requests that find out what the store can do.
//   - index is one durable transaction: the kinds of keys that it added (+), changed,
//     or removed (-), and their number if there are several (3×).
//   - ! marks a failure that the test injected.
//   - # marks a comment of the test.
//
// If a change of the code alters a list, its test fails and prints the difference. If you
// intended the change, rewrite the lists, and check every line that moved before you commit:
//
//	go test ./test/traces -update
//	git diff test/traces/testdata
package traces
