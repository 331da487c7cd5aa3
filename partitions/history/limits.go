package history

const (
	// MaxRecordsPerEvent limits the records of a RecordsEvent.
	MaxRecordsPerEvent = 512
	// MaxMessagesPerEvent limits the messages of a MessagesEvent.
	MaxMessagesPerEvent = 512
	// MaxRecordsPerCommit is how many records a commit should contain. More records go
	// into record blocks, which are put before the commit (RecordBlocksEvent).
	MaxRecordsPerCommit = 65_536
	// RecordsPerBlock is how many consecutive UIDs share a record block.
	RecordsPerBlock = 1 << blockShift

	blockShift = 12

	maxLine       = 64 << 20         // bytes of a line, anywhere
	maxEvent      = maxLine - 64<<10 // bytes of an event: the line of a state with that event is a little longer
	maxCommitSize = 256 << 20        // bytes of a commit.ndjson
	maxBlockSize  = 512 << 20        // bytes of a block: 4,096 lines of 128 KiB
	maxStateSize  = 4 << 30          // bytes of a state.ndjson
	lineTarget    = 1 << 20          // Builder.Record begins a new line after this many bytes
)
