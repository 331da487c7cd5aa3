// Package index is the local cache of what the buckets hold: it makes GET and
// RESERVE fast, may be deleted at any time, and is never the truth. It is one
// Badger database, owned by one process. Callers get transactions over typed
// keys, not Badger; values belong to package partitions.
//
// Keys, version 1. <b> is the number of a backup in this index (8 bytes, big
// endian), <p> the name of a partition followed by a zero byte; uid and seq are
// big endian, so that ranges come in order.
//
//	key                                   value
//	v                                     format version of the index
//	p <p>                                 id of the partition's repository
//	P <p>                                 what the probe found out about the partition's store (JSON)
//	n                                     number of the next backup
//	B <path>                              a backup: partition, number, newest commit (JSON)
//	m <b> <uniqueid>                      mailbox state (JSON, as in a checkpoint)
//	q <b> <seq>                           uniqueid of the mailbox, in order of creation
//	N <b> <name>                          uniqueid of the live mailbox with this name
//	r <b> <uniqueid> 0 <uid>              record state (JSON, as in a checkpoint)
//	g <b> <guid>                          message state: size, chunks, inline or not (JSON)
//	i <b> <kind> 0 <A> 0 <B> 0 <C>        subscription, seen state, script, quota, annotation (JSON)
//	c <b> <chunk>                         where a chunk lies that is in the log itself (JSON)
//	s <b>                                 order of the next new mailbox (JSON)
//	x <b> <uniqueid>                      when the client was last made to send the mailbox whole, and why (JSON)
//	o <path>                              the source must compare the whole user: something was refused (empty)
//	U <uniqueid> 0 <path>                 the mailbox lives in this backup (empty)
//	G <p> <guid>                          a message that lies in packs: size, chunks (binary)
//	C <p> <chunk>                         where a chunk lies: pack, entry, frames (binary)
//	L <p> <object>                        an object is gone, or cannot be read at all: how (one byte)
//	L <p> <chunk>                         there is a key of the next kind for the chunk (one byte)
//	L <p> <chunk> <object>                a chunk cannot be read where it lay in an object: how (one byte)
//	l <p>                                 how many losses were found, and when the partition was last distrusted (JSON)
//
// <object> is the hash of a pack, or the SHA-256 of another object's key. The keys L and l are
// facts about the bucket that it does not tell by itself: they stay when what the index
// knows of a partition's packs is dropped.
package index
