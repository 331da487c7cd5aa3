package partitions

import (
	"context"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Writer prepares the next commit of a backup: events, records, and the messages that the
// records name. The caller holds the commit mutex from NewWriter to Commit.
type Writer struct {
	b       *Backup
	stage   *Stage
	who     Author
	from    *Backup      // the mailbox moves from this backup; nil = the client sends it
	recheck func() error // decides whether the commit is still valid after another writer's commits

	bld    *history.Builder
	spool  *history.RecordBlockWriter // takes the records that do not fit into a commit
	count  int
	news   []history.Message      // messages that the commit adds, at most Options.CommitRecords
	known  map[cyrus.GUID]uint64  // their GUIDs, with Message.pack
	staged []*stagedMessage       // those in news that the connection has sent
	reused []history.MessageState // messages that the backup knows and new records name

	dead    *history.Condemned // packs that the commit must not refer to
	checked moment             // when the packs of the commit were looked for in that list
	named   []history.Place    // in packs, of new messages
	again   []history.Place    // in packs, of messages that are named again
	losses  lossState          // of the partition, when packs were found
}

// lossState changes when something of a partition is lost, or may be.
type lossState struct {
	epoch uint64
	count lossCount
}

func (p *Partition) lossState() lossState { return lossState{p.epoch.Load(), p.lossCount()} }

const (
	// commitRecords limits the memory of a commit: a quarter of what the format allows. A
	// commit of 16,384 new messages takes about 20 MiB until it is applied.
	commitRecords = history.MaxRecordsPerCommit / 4
	// commitBytes is the size of a commit's events from which records go into blocks. Ordinary
	// records are smaller; with long annotations they would exceed the limit of a reader.
	commitBytes = 32 << 20
)

// NewWriter begins a commit. Bodies come from the stage or, if from is not nil, from that
// backup, whose commit mutex the caller holds too. recheck is called if another writer's
// commits came first. Its error ends the commit.
func (b *Backup) NewWriter(s *Stage, who Author, from *Backup, recheck func() error) *Writer {
	return &Writer{
		b: b, stage: s, who: who, from: from, recheck: recheck,
		bld: history.NewBuilder(history.Header{}, b.set.opt.Pack), known: map[cyrus.GUID]uint64{},
	}
}

// View calls fn with the state of the backup, including everything that this Writer has
// committed.
func (w *Writer) View(ctx context.Context, fn func(*State) error) (err error) {
	// Ask first, so that the view is not open during this request.
	if w.dead, err = w.b.part.Condemned(ctx); err != nil {
		return err
	}
	if err := w.stage.keepSent(1); err != nil {
		return err
	}
	w.checkPacks()
	return w.b.View(fn)
}

// checkPacks forgets where messages were found if something was lost since then.
func (w *Writer) checkPacks() {
	if now := w.b.part.lossState(); now != w.losses {
		w.losses = now
		for g := range w.known {
			w.known[g] = 0
		}
	}
}

// Event adds an event to the commit.
func (w *Writer) Event(e history.Event) error { return w.bld.Event(e) }

// Record adds a record of a mailbox. Records that do not fit into a commit go into record
// blocks before it, so that the commit remains one small put.
func (w *Writer) Record(ctx context.Context, uniqueid string, r *cyrus.Record) error {
	w.count++
	if w.spool == nil && w.count <= w.b.set.opt.CommitRecords && w.bld.Size() < commitBytes {
		return w.bld.Record(uniqueid, r)
	}
	if w.spool == nil {
		w.spool = history.NewRecordBlockWriter(patientPuts{w.b.part.store}, w.b.path, w.b.set.opt.Pack)
	}
	return w.spool.Add(ctx, r)
}

// EndRecords puts the record blocks after the last record of the mailbox.
func (w *Writer) EndRecords(ctx context.Context, uniqueid string) error {
	if w.spool == nil {
		return nil
	}
	blocks, err := w.spool.Finish(ctx)
	if err != nil {
		return fmt.Errorf("put record blocks: %w", err)
	}
	return w.bld.Event(&history.RecordBlocksEvent{UniqueID: uniqueid, Blocks: blocks})
}

// Adds reports whether the commit adds the message to the backup.
func (w *Writer) Adds(g cyrus.GUID) bool {
	_, ok := w.known[g]
	return ok
}

// FindAll looks up messages in the stage, the backup, and the partition: found[i] is the
// message guids[i]. It reuses the memory of found. It is called inside View.
func (w *Writer) FindAll(st *State, guids []cyrus.GUID, found []Message) error {
	f := finder{g: w.stage, t: st.t, st: st, part: w.b.part, dead: w.dead, from: w.fromState(st.t)}
	return f.findAll(guids, found)
}

// MakeRoom makes sure that the next n calls of Add and AddMissing commit nothing. What FindAll
// finds afterwards stays valid for them.
func (w *Writer) MakeRoom(ctx context.Context, n int) error {
	if len(w.news) == 0 || len(w.news)+n <= w.b.set.opt.CommitRecords {
		return nil
	}
	return w.commitMessages(ctx)
}

// Add adds a message to the backup with this commit.
func (w *Writer) Add(ctx context.Context, g cyrus.GUID, m *Message) error {
	chunks := m.chunks
	if m.staged == nil {
		chunks = slices.Clone(chunks) // a later lookup reuses their memory
	}
	return w.add(ctx, history.Message{GUID: g, Size: m.Size, Chunks: chunks}, m.staged, m.pack)
}

// AddMissing adds a message whose body is missing.
func (w *Writer) AddMissing(ctx context.Context, g cyrus.GUID, size int64) error {
	return w.add(ctx, history.Message{GUID: g, Size: size, Missing: true}, nil, 0)
}

func (w *Writer) add(ctx context.Context, m history.Message, staged *stagedMessage, pack uint64) error {
	if len(w.news) >= w.b.set.opt.CommitRecords {
		if err := w.commitMessages(ctx); err != nil {
			return err
		}
	}
	w.known[m.GUID] = pack
	m.Private = staged != nil && staged.suspicious
	if n := len(w.news); n == cap(w.news) {
		w.news = slices.Grow(w.news, max(n, 16)) // twice as many, which copies less than append
	}
	w.news = append(w.news, m)
	if staged != nil {
		w.staged = append(w.staged, staged)
	}
	return nil
}
