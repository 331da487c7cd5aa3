package repository

// Copied counts what a copy has written.
type Copied struct {
	Objects int   // commits, checkpoints and blocks, copied byte for byte
	Chunks  int   // messages and pieces of messages, copied into new packs
	Bytes   int64 // stored bytes of both
}
