package repository

// Copied is what was put into the other partition.
type Copied struct {
	Objects int   // of the log, checkpoints and blocks, copied as they are
	Chunks  int   // messages and pieces of them, in packs of their own
	Bytes   int64 // of both, as stored
}
