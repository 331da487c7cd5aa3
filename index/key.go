package index

import "encoding/binary"

// Key is a key of the table in the package comment. Only the functions below make one.
type Key []byte

// The prefixes of the key table.
const (
	prefixVersion    = 'v'
	prefixRepository = 'p'
	prefixFinding    = 'P'
	prefixNextBackup = 'n'
	prefixBackup     = 'B'
	prefixMailbox    = 'm'
	prefixSeq        = 'q'
	prefixName       = 'N'
	prefixRecord     = 'r'
	prefixMessage    = 'g'
	prefixItem       = 'i'
	prefixAsked      = 'x'
	prefixNextSeq    = 's'
	prefixInline     = 'c'
	prefixUniqueID   = 'U'
	prefixShared     = 'G'
	prefixChunk      = 'C'
	prefixOwed       = 'o'
	prefixLost       = 'L'
	prefixLosses     = 'l'
)

// RepositoryKey is where the id of a partition's repository stands.
func RepositoryKey(partition string) Key {
	return Key(string(rune(prefixRepository)) + partition + "\x00")
}

// FindingKey holds what this host found out about a partition's store.
func FindingKey(partition string) Key {
	return Key(string(rune(prefixFinding)) + partition + "\x00")
}

// NextBackupKey is where the number of the next new backup stands.
func NextBackupKey() Key { return Key{prefixNextBackup} }

// BackupKey is the entry of the backup with this path ("user/anne").
func BackupKey(path string) Key { return Key(string(rune(prefixBackup)) + path) }

// BackupPrefix begins every BackupKey.
func BackupPrefix() Key { return Key{prefixBackup} }

// PathOf is the path in a BackupKey.
func PathOf(k Key) string { return string(k[1:]) }

func ofBackup(prefix byte, b uint64, extra int) Key {
	k := make(Key, 0, 9+extra)
	k = append(k, prefix)
	return binary.BigEndian.AppendUint64(k, b)
}

// MailboxKey is a mailbox of backup b; with uniqueid "" the prefix of them all.
func MailboxKey(b uint64, uniqueid string) Key {
	return append(ofBackup(prefixMailbox, b, len(uniqueid)), uniqueid...)
}

// SeqPrefix begins every SeqKey of backup b.
func SeqPrefix(b uint64) Key { return ofBackup(prefixSeq, b, 0) }

// SeqKey is the seq-th mailbox that was created in backup b.
func SeqKey(b, seq uint64) Key {
	return binary.BigEndian.AppendUint64(ofBackup(prefixSeq, b, 8), seq)
}

// NameKey is the live mailbox with this name.
func NameKey(b uint64, name string) Key {
	return append(ofBackup(prefixName, b, len(name)), name...)
}

// RecordPrefix begins the records of a mailbox.
func RecordPrefix(b uint64, uniqueid string) Key {
	k := ofBackup(prefixRecord, b, len(uniqueid)+5)
	return append(append(k, uniqueid...), 0)
}

// RecordKey is the record with this uid.
func RecordKey(b uint64, uniqueid string, uid uint32) Key {
	return binary.BigEndian.AppendUint32(RecordPrefix(b, uniqueid), uid)
}

// MessageKey is a message that backup b knows; guid nil gives the prefix of them all.
func MessageKey(b uint64, guid []byte) Key {
	return append(ofBackup(prefixMessage, b, len(guid)), guid...)
}

// ItemPrefix begins the items of a kind.
func ItemPrefix(b uint64, kind string) Key {
	k := ofBackup(prefixItem, b, len(kind)+1)
	return append(append(k, kind...), 0)
}

// ItemKey is an item that is neither mailbox, record nor message.
func ItemKey(b uint64, kind, x, y, z string) Key {
	k := ItemPrefix(b, kind)
	k = append(append(k, x...), 0)
	k = append(append(k, y...), 0)
	return append(k, z...)
}

// AskedKey is when the source was last asked for the missing bodies of a mailbox.
func AskedKey(b uint64, uniqueid string) Key {
	return append(ofBackup(prefixAsked, b, len(uniqueid)), uniqueid...)
}

// OwedKey says that the source was refused something of the backup with this path, which
// only a comparison of the whole user brings again.
func OwedKey(path string) Key { return Key(string(rune(prefixOwed)) + path) }

// UniqueIDPrefix begins the keys of the backups in which a mailbox lives.
func UniqueIDPrefix(uniqueid string) Key {
	return Key(string(rune(prefixUniqueID)) + uniqueid + "\x00")
}

// UniqueIDKey says that the mailbox lives in the backup with this path.
func UniqueIDKey(uniqueid, path string) Key { return append(UniqueIDPrefix(uniqueid), path...) }

// SharedKey is a message that lies in packs of a partition.
func SharedKey(partition string, guid []byte) Key {
	return append(Key(string(rune(prefixShared))+partition+"\x00"), guid...)
}

// ChunkKey is where a chunk lies in a partition.
func ChunkKey(partition string, chunk []byte) Key {
	return append(Key(string(rune(prefixChunk))+partition+"\x00"), chunk...)
}

// LostKey says that an object of a partition is gone, or cannot be read at all. object
// is the hash of a pack, for any other object the SHA-256 of its key. Under the hash of a
// chunk it says that there is a LostChunkKey of it.
func LostKey(partition string, object []byte) Key {
	return append(Key(string(rune(prefixLost))+partition+"\x00"), object...)
}

// LostChunkKey says that a chunk cannot be read where it lay in an object.
func LostChunkKey(partition string, chunk, object []byte) Key {
	return append(LostKey(partition, chunk), object...)
}

// LossesKey holds the count of a partition's losses.
func LossesKey(partition string) Key {
	return Key(string(rune(prefixLosses)) + partition + "\x00")
}

// backupPrefixes are the prefixes whose keys belong to one backup.
var backupPrefixes = [...]byte{prefixMailbox, prefixSeq, prefixName, prefixRecord, prefixMessage, prefixItem, prefixAsked, prefixNextSeq, prefixInline}

// partitionPrefixes are the prefixes whose keys belong to one partition.
var partitionPrefixes = [...]byte{prefixShared, prefixChunk}

// NextSeqKey is where the order of the next new mailbox of backup b stands.
func NextSeqKey(b uint64) Key { return ofBackup(prefixNextSeq, b, 0) }

// InlineKey is where a chunk lies that only backup b may refer to.
func InlineKey(b uint64, chunk []byte) Key {
	return append(ofBackup(prefixInline, b, len(chunk)), chunk...)
}
