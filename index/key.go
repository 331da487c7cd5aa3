package index

import (
	"encoding/binary"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Key is a key of the table in the package comment. Only the functions below make keys.
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
	prefixPackNumber = 'k'
	prefixPack       = 'K'
	prefixLastPack   = 'u'
	prefixSummary    = 'Y'
	prefixCensus     = 'y'
	prefixMeasured   = 'z'
	prefixResync     = 'd'
	prefixServer     = 'T'
	prefixContact    = 't'
	prefixRefusal    = 'f'
	prefixSent       = 'S'
)

// RepositoryKey holds the id of a partition's repository.
func RepositoryKey(partition string) Key {
	return Key(string(rune(prefixRepository)) + partition + "\x00")
}

// FindingKey holds the probe results for a partition's store.
func FindingKey(partition string) Key {
	return Key(string(rune(prefixFinding)) + partition + "\x00")
}

// NextBackupKey holds the number of the next new backup.
func NextBackupKey() Key { return Key{prefixNextBackup} }

// BackupKey is the entry of the backup with this path ("user/anne").
func BackupKey(path string) Key { return Key(string(rune(prefixBackup)) + path + "/") }

// BackupPrefix is the prefix of every BackupKey.
func BackupPrefix() Key { return Key{prefixBackup} }

// PathOf returns the path in a BackupKey.
func PathOf(k Key) string { return string(k[1 : len(k)-1]) }

func ofBackup(prefix byte, b uint64, extra int) Key {
	k := make(Key, 0, 9+extra)
	k = append(k, prefix)
	return binary.BigEndian.AppendUint64(k, b)
}

func ofPartition(prefix byte, partition string, extra int) Key {
	k := make(Key, 0, len(partition)+2+extra)
	return append(append(append(k, prefix), partition...), 0)
}

// MailboxKey is a mailbox of backup b. With uniqueid "" it is the common prefix.
func MailboxKey(b uint64, uniqueid string) Key {
	return append(ofBackup(prefixMailbox, b, len(uniqueid)), uniqueid...)
}

// SeqPrefix is the prefix of every SeqKey of backup b.
func SeqPrefix(b uint64) Key { return ofBackup(prefixSeq, b, 0) }

// SeqKey is the seq-th mailbox created in backup b.
func SeqKey(b, seq uint64) Key {
	return binary.BigEndian.AppendUint64(ofBackup(prefixSeq, b, 8), seq)
}

// NameKey is the live mailbox with this name.
func NameKey(b uint64, name string) Key {
	return append(ofBackup(prefixName, b, len(name)), name...)
}

// RecordPrefix is the prefix of the records of a mailbox.
func RecordPrefix(b uint64, uniqueid string) Key {
	k := ofBackup(prefixRecord, b, len(uniqueid)+5)
	return append(append(k, uniqueid...), 0)
}

// BlockRecords is the number of uids of a RecordBlockKey.
const BlockRecords = 32

// RecordBlockKey holds the records with the uids uid / BlockRecords * BlockRecords and after.
func RecordBlockKey(b uint64, uniqueid string, uid uint32) Key {
	return binary.BigEndian.AppendUint32(RecordPrefix(b, uniqueid), uid/BlockRecords)
}

// BlockOf returns the first possible uid of a RecordBlockKey. ok is false for a RecordKey.
func BlockOf(k, prefix Key) (uid uint32, ok bool) {
	if len(k) != len(prefix)+4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(k[len(prefix):]) * BlockRecords, true
}

// RecordKey holds a long record. It follows the key of its block.
func RecordKey(b uint64, uniqueid string, uid uint32) Key {
	return append(RecordBlockKey(b, uniqueid, uid), byte(uid%BlockRecords))
}

// MessageKey is a message that backup b knows. With guid nil it is the common prefix.
func MessageKey(b uint64, guid []byte) Key {
	return append(ofBackup(prefixMessage, b, len(guid)), guid...)
}

// GUIDOf returns the GUID in a MessageKey or a SharedKey.
func GUIDOf(k Key) cyrus.GUID { return cyrus.GUID(k[len(k)-len(cyrus.GUID{}):]) }

// WithGUID replaces the GUID at the end of a MessageKey or SharedKey, and returns the key.
func (k Key) WithGUID(g cyrus.GUID) Key {
	copy(k[len(k)-len(g):], g[:])
	return k
}

// ItemPrefix is the prefix of the items of a kind.
func ItemPrefix(b uint64, kind string) Key {
	k := ofBackup(prefixItem, b, len(kind)+1)
	return append(append(k, kind...), 0)
}

// ItemKey is an item other than a mailbox, record or message.
func ItemKey(b uint64, kind, x, y, z string) Key {
	k := ItemPrefix(b, kind)
	k = append(append(k, x...), 0)
	k = append(append(k, y...), 0)
	return append(k, z...)
}

// AskedKey holds the time when the source was last asked for the missing bodies of a
// mailbox.
func AskedKey(b uint64, uniqueid string) Key {
	return append(ofBackup(prefixAsked, b, len(uniqueid)), uniqueid...)
}

// OwedKey exists if a change to the backup with this path was refused, and only a
// comparison of the whole user delivers it again.
func OwedKey(path string) Key { return Key(string(rune(prefixOwed)) + path) }

// OwedPathOf returns the path in an OwedKey.
func OwedPathOf(k Key) string { return string(k[1:]) }

// SentPrefix is the prefix of every SentKey of a period.
func SentPrefix(period uint32) Key { return binary.BigEndian.AppendUint32(Key{prefixSent}, period) }

// SentKey exists if this login has sent the bytes of a message in this period.
func SentKey(period uint32, login string, g cyrus.GUID) Key {
	k := append(make(Key, 0, 6+len(login)+len(g)), SentPrefix(period)...)
	return append(append(append(k, login...), 0), g[:]...)
}

// sentPeriodOf returns the period of a SentKey.
func sentPeriodOf(k Key) uint32 { return binary.BigEndian.Uint32(k[1:]) }

// UniqueIDPrefix is the prefix of the keys for the backups that contain a mailbox.
func UniqueIDPrefix(uniqueid string) Key {
	return Key(string(rune(prefixUniqueID)) + uniqueid + "\x00")
}

// UniqueIDKey exists if the backup with this path contains the mailbox.
func UniqueIDKey(uniqueid, path string) Key { return append(UniqueIDPrefix(uniqueid), path...) }

// SharedKey is a message stored in packs of a partition.
func SharedKey(partition string, guid []byte) Key {
	return append(ofPartition(prefixShared, partition, len(guid)), guid...)
}

// ChunkKey holds the location of a chunk in a partition.
func ChunkKey(partition string, chunk []byte) Key {
	return append(ofPartition(prefixChunk, partition, len(chunk)), chunk...)
}

// PackNumberKey holds the number of a pack of a partition.
func PackNumberKey(partition string, pack []byte) Key {
	return append(Key(string(rune(prefixPackNumber))+partition+"\x00"), pack...)
}

// PackKey holds the hash of the pack with this number.
func PackKey(partition string, number uint64) Key {
	return binary.BigEndian.AppendUint64(Key(string(rune(prefixPack))+partition+"\x00"), number)
}

// LastPackKey holds the highest number of a pack.
func LastPackKey(partition string) Key {
	return Key(string(rune(prefixLastPack)) + partition + "\x00")
}

// LostKey records that an object of a partition is missing or entirely unreadable. object
// is the hash of a pack, or the SHA-256 of any other object's key. Under the hash of a
// chunk it means that LostChunkKeys exist for the chunk.
func LostKey(partition string, object []byte) Key {
	return append(ofPartition(prefixLost, partition, len(object)), object...)
}

// LostChunkKey records that a chunk is unreadable at its place in an object.
func LostChunkKey(partition string, chunk, object []byte) Key {
	return append(LostKey(partition, chunk), object...)
}

// LossesKey holds the number of a partition's losses.
func LossesKey(partition string) Key {
	return Key(string(rune(prefixLosses)) + partition + "\x00")
}

// SummaryKey is what a census has found about the backup with this path in a partition. Its slash
// makes the order that of the objects in the bucket.
func SummaryKey(partition, path string) Key {
	return append(SummaryPrefix(partition), path+"/"...)
}

// SummaryPrefix is the prefix of every SummaryKey of a partition. The path and its slash follow.
func SummaryPrefix(partition string) Key { return ofPartition(prefixSummary, partition, 0) }

// CensusKey holds the time of the last census of a partition.
func CensusKey(partition string) Key {
	return Key(string(rune(prefixCensus)) + partition + "\x00")
}

// MeasuredKey is what ctl_backups stat has measured of the backup with this path in a partition.
func MeasuredKey(partition, path string) Key {
	return append(ofPartition(prefixMeasured, partition, len(path)+1), path+"/"...)
}

// ServerKey is what this host knows about the mail server with this identity.
func ServerKey(client string) Key { return Key(string(rune(prefixServer)) + client) }

// ClientOf returns the identity in a ServerKey.
func ClientOf(k Key) string { return string(k[1:]) }

// ContactKey is the last contact of a mail server with the backup with this path.
func ContactKey(path string) Key { return Key(string(rune(prefixContact)) + path + "/") }

// ContactPrefix is the prefix of every ContactKey. The path and its slash follow.
func ContactPrefix() Key { return Key{prefixContact} }

// RefusalKey exists while no mail server has reached the backup with this path since a refusal. With
// path "" it is the common prefix.
func RefusalKey(path string) Key {
	if path == "" {
		return Key{prefixRefusal}
	}
	return Key(string(rune(prefixRefusal)) + path + "/")
}

// ResyncKey exists while a live mailbox is in resync.
func ResyncKey(b uint64, uniqueid string) Key {
	return append(ofBackup(prefixResync, b, len(uniqueid)), uniqueid...)
}

// ResyncPrefix is the prefix of every ResyncKey, AskedPrefix that of every AskedKey, and OwedPrefix
// that of every OwedKey.
func ResyncPrefix() Key { return Key{prefixResync} }

// AskedPrefix is described at ResyncPrefix.
func AskedPrefix() Key { return Key{prefixAsked} }

// OwedPrefix is described at ResyncPrefix.
func OwedPrefix() Key { return Key{prefixOwed} }

// NumberOf returns the number of the backup in a ResyncKey or an AskedKey.
func NumberOf(k Key) uint64 { return binary.BigEndian.Uint64(k[1:]) }

// backupPrefixes are the prefixes whose keys belong to one backup.
var backupPrefixes = [...]byte{prefixMailbox, prefixSeq, prefixName, prefixRecord, prefixMessage, prefixItem, prefixAsked, prefixNextSeq, prefixInline, prefixResync}

// partitionPrefixes are the prefixes whose keys belong to one partition.
var partitionPrefixes = [...]byte{prefixShared, prefixChunk}

// NextSeqKey holds the position of the next new mailbox of backup b.
func NextSeqKey(b uint64) Key { return ofBackup(prefixNextSeq, b, 0) }

// InlineKey holds the location of a chunk that only backup b may refer to.
func InlineKey(b uint64, chunk []byte) Key {
	return append(ofBackup(prefixInline, b, len(chunk)), chunk...)
}
