package history

const (
	// MaxRecordsPerEvent bounds the records of a RecordsEvent.
	MaxRecordsPerEvent = 512
	// MaxMessagesPerEvent bounds the messages of a MessagesEvent.
	MaxMessagesPerEvent = 512
	// MaxRecordsPerCommit is how many records a commit should hold; more of them go as
	// record blocks before it (RecordBlocksEvent).
	MaxRecordsPerCommit = 65_536
	// RecordsPerBlock is how many consecutive UIDs share a record block.
	RecordsPerBlock = 1 << blockShift

	blockShift = 12

	maxLine       = 64 << 20         // bytes of a line, anywhere
	maxEvent      = maxLine - 64<<10 // bytes of an event: a state that keeps it is a line as well, and a little longer
	maxCommitSize = 256 << 20        // bytes of a commit.ndjson
	maxBlockSize  = 512 << 20        // bytes of a block: 4,096 lines of 128 KiB
	maxStateSize  = 4 << 30          // bytes of a state.ndjson
	lineTarget    = 1 << 20          // Builder.Record begins another line after so many bytes
)
