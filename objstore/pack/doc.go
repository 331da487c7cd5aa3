// Package pack reads and writes the one container that every object of a partition
// is (docs/format.md 1). It knows bytes, not stores.
//
// An object is a stream of zstd frames. Decompressed as a whole it is a ustar archive,
// so that zstd and tar are enough to get at the mail:
//
//	           one object
//	┌───────────────────────────────┐
//	│ zstd frame                    │   header body pad │ header body pad │ …   whole small entries
//	├───────────────────────────────┤
//	│ zstd frame                    │   header                                a large entry: its header alone,
//	├───────────────────────────────┤
//	│ zstd frame                    │   body, 4 MiB                           its body in frames of its own
//	├───────────────────────────────┤
//	│ zstd frame                    │   body, the rest, pad
//	├───────────────────────────────┤
//	│ zstd frame                    │   header body pad │ … │ end of archive
//	├───────────────────────────────┤
//	│ skippable frame, magic …2A5B  │   the directory: version, 16 random bytes, lengths of the frames,
//	│               length sum magic│   names and sizes of the entries; found from the object's end
//	└───────────────────────────────┘
//
// Every frame carries its size and a checksum, begins and ends between blocks of the
// archive, and is at most 4 MiB decompressed. Where an entry lies follows from the
// order and the sizes of entries and frames; it is not written down.
//
// Readers trust nothing: an object can be cut off, damaged or made to harm, and the
// answer is ErrCorrupt, never a panic, wrong bytes or memory past one frame and one
// directory.
package pack
