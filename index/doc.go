// Package index is a local cache of the buckets' contents. It makes GET and
// RESERVE fast and may be deleted at any time; only the buckets are
// authoritative. It is one Badger database, owned by one process. Callers get
// transactions over typed keys, not Badger. Package partitions defines the values; the
// binary ones are in package partitions/indexvalue.
//
// Keys, version 3. <b> is the number of a backup in this index (8 bytes, big
// endian), <p> the name of a partition followed by a zero byte; uid/32 and seq are
// big endian, so that ranges are sorted.
//
//	key                                   value
//	v                                     format version of the index
//	p <p>                                 id of the partition's repository
//	P <p>                                 probe results for the partition's store (JSON)
//	n                                     number of the next backup
//	B <path> /                            a backup: partition, number, newest commit (JSON)
//	m <b> <uniqueid>                      mailbox state (binary)
//	q <b> <seq>                           uniqueid of the mailbox, in order of creation
//	N <b> <name>                          uniqueid of the live mailbox with this name
//	r <b> <uniqueid> 0 <uid/32>           states of the records with 32 consecutive uids (binary)
//	r <b> <uniqueid> 0 <uid/32> <uid%32>  state of a record that is too long for its block (binary)
//	g <b> <guid>                          message state: size, chunks, inline or not (binary)
//	i <b> <kind> 0 <A> 0 <B> 0 <C>        subscription, seen state, script, quota, annotation (JSON)
//	c <b> <chunk>                         location of a chunk in the log itself (binary)
//	s <b>                                 order of the next new mailbox (JSON)
//	x <b> <uniqueid>                      when and why the client last had to send the whole mailbox (JSON)
//	d <b> <uniqueid>                      the mailbox is live and in resync (empty)
//	o <path>                              the source must compare the whole user because a change was refused (empty)
//	U <uniqueid> 0 <path>                 this backup contains the mailbox (empty)
//	G <p> <guid>                          a message in packs: size, chunks and, if it is one entry of a pack, the pack's number (binary)
//	C <p> <chunk>                         location of any other chunk: the pack's number, GUID of its entry (binary)
//	k <p> <pack>                          number of a pack in the keys G and C (binary)
//	K <p> <number>                        hash of the pack with this number
//	u <p>                                 highest number of a pack (binary)
//	L <p> <object>                        an object is missing or entirely unreadable: kind of loss (one byte)
//	L <p> <chunk>                         the chunk has a key of the next kind (one byte)
//	L <p> <chunk> <object>                a chunk is unreadable at its place in an object: kind of loss (one byte)
//	l <p>                                 number of losses found, and time of the last invalidation of the partition (JSON)
//	Y <p> <path> /                        what a census has found in the bucket about a backup (JSON)
//	y <p>                                 time of the last census of a partition (JSON)
//	z <p> <path> /                        what ctl_backups stat has measured of a backup (JSON)
//	T <client>                            a mail server's last contact and refusal (JSON)
//	t <path> /                            the last contact of a mail server with a backup (JSON)
//	f <path> /                            a refusal since which no mail server has reached the backup (JSON)
//	S <period> <login> 0 <guid>           this login has sent the message in this period, a number of weeks (empty)
//
// <object> is the hash of a pack, or the SHA-256 of another object's key. The keys L and l
// cannot be derived from the bucket, so they are kept when the cached contents of a
// partition's packs are dropped. The keys S, which only save uploads, cannot either; they are removed one to two weeks after they were last used. So are the numbers of packs, which are never reused.
package index
