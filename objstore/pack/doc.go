// Package pack reads and writes the container format of all objects of a partition
// (docs/format.md 1). It handles bytes, not stores.
//
// An object is a stream of zstd frames. Decompressed, the whole object is a ustar archive,
// so the mail can be read with zstd and tar:
//
//	           one object
//	┌───────────────────────────────┐
//	│ zstd frame                    │   header body pad │ header body pad │ …   whole small entries
//	├───────────────────────────────┤
//	│ zstd frame                    │   header                                a large entry: only its header,
//	├───────────────────────────────┤
//	│ zstd frame                    │   body, 4 MiB                           its body in separate frames
//	├───────────────────────────────┤
//	│ zstd frame                    │   rest of the body, pad
//	├───────────────────────────────┤
//	│ zstd frame                    │   header body pad │ … │ end of archive
//	├───────────────────────────────┤
//	│ skippable frame, magic …2A5B  │   the directory: version, 16 random bytes, lengths of the frames,
//	│               length sum magic│   names and sizes of the entries; found from the object's end
//	└───────────────────────────────┘
//
// Every frame contains its size and a checksum, begins and ends between blocks of the
// archive, and is at most 4 MiB decompressed. The position of an entry follows
// from the order and the sizes of entries and frames; it is not stored.
//
// Readers trust nothing: if an object is truncated, damaged or malicious, they return
// ErrCorrupt. They never panic, return wrong bytes, or use memory beyond one frame and one
// directory.
package pack
