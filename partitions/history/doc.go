// Package history is the log of one backup: commits, segments, checkpoints and
// record blocks as bytes, and the state that they add up to. It reads through an
// objstore.Store and never writes a commit itself: who wins a number is decided in
// package partitions.
package history

/* API that others build on (implementation beside it):

// --- one commit as an object
type Builder struct…            // builds commit.ndjson, places.ndjson and inline bodies into one object
func NewBuilder(h Header, o pack.Options) *Builder
func (b *Builder) Event(e Event) error            // appended as a line
func (b *Builder) Place(p Place)
func (b *Builder) Inline(entry string, body []byte) // stored after the places; body kept by reference till Finish
func (b *Builder) Size() int64                    // raw bytes of commit.ndjson so far
func (b *Builder) Finish(buf []byte) (object []byte, hash [32]byte, dir *pack.Directory, err error) // hash of commit.ndjson
// A lost race needs the same events under another header: Reheader keeps events, places, bodies.
func (b *Builder) Reheader(h Header)

// Commit as read: events are streamed, nothing is held but the header.
type Commit struct { Header; Hash [32]byte; Key string; Places func(yield…); Size int64; … }
func ReadCommit(ctx, s objstore.Store, backup string, number uint64, fn func(*CommitReader) error) error
   // CommitReader: Header(), Events() iter.Seq2[Event, error], Places() iter.Seq2[Place, error], Hash() after Events ended, Directory() *pack.Directory

// --- the log
func LogKey(backup string, n uint64) string; SegmentKey…; CheckpointKey…; RecordsKey…
type Log struct{ Store; Backup string }
func (l *Log) Newest(ctx, from uint64) (uint64, error)   // N exists, N+1 does not, galloping HEADs, no LIST
func (l *Log) Commits(ctx, from, to uint64) iter.Seq2[*CommitReader, error]   // through objects and segments; verifies the hash chain; an absent number is an error naming it
func (l *Log) Checkpoints(ctx) (newest first: numbers)    // LIST; only tools and rebuild do that

// --- the state
State (interface): what Fold applies events to; two implementations: memory with a bounded block cache (this package), the index (package partitions).
func Fold(s State, h Header, e Event) error
type Mem … // State for reading at a moment and for folding checkpoints
func Load(ctx, store, backup, at Moment) (*Mem, error)   // newest checkpoint at or before + commits up to it
func (m *Mem) WriteCheckpoint(ctx, store) error          // record blocks (content-addressed, put if-absent), places, state
*/
