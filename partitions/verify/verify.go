package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Problem is a problem of a backup.
type Problem struct {
	Object  string // key, mailbox or message
	Text    string
	Missing bool // a missing body that the next sync will ask for; no damage
	Lost    bool // a loss that the log itself records; nothing can be done
}

// String returns the problem as a line of text.
func (p Problem) String() string {
	if strings.HasPrefix(p.Text, p.Object+":") {
		return p.Text
	}
	return p.Object + ": " + p.Text
}

// Options are the options of Run.
type Options struct {
	Quick  bool          // check the newest checkpoint and the commits after it, and no bodies
	Report func(Problem) // called for each problem, on the goroutine that has called Run
	Step   func(string)  // called with the present step; may be nil
	// Partitions is for a check of many backups; nil reads the objects that they share again.
	Partitions *Partitions
}

// Result counts the objects that were checked, and the problems.
type Result struct {
	Objects, Commits, Checkpoints, Mailboxes, Messages int
	Bytes                                              int64 // of bodies
	Damaged, Missing, Lost                             int   // problems
	Erased                                             int   // messages whose bodies were erased; no problem
}

// Run verifies a backup. It passes problems to Report and continues; it returns an error if
// the store cannot be read.
func Run(ctx context.Context, f *repository.Found, v Options) (Result, error) {
	w, err := runSettled(ctx, f, v)
	return w.done, err
}

func newVerifier(ctx context.Context, f *repository.Found, v Options) *verifier {
	return &verifier{ctx: ctx, f: f, v: v, store: rangecache.New(f.Partition.Store, 16<<20), seen: map[string]bool{}, blocks: map[string]bool{}}
}

type verifier struct {
	ctx      context.Context // of Run
	f        *repository.Found
	v        Options
	store    objstore.Store
	done     Result
	seen     map[string]bool // blocks already read, by object and hash
	reported map[string]bool // problems, by text

	blocks    map[string]bool // objects in records/: whether they are sound
	log       loggedProblems
	diagnosis diagnosis
	contains  func(from, to uint64) bool // see elsewhere
	first     uint64                     // the first commit that was listed
}

func (w *verifier) step(format string, args ...any) {
	if w.v.Step != nil {
		w.v.Step(fmt.Sprintf(format, args...))
	}
}

// damage reports err once if it is damage, and otherwise returns it.
func (w *verifier) damage(object string, err error) error {
	if err == nil || !history.IsDamage(err) || w.ctx.Err() != nil {
		return err
	}
	w.problem(Problem{Object: object, Text: err.Error()})
	return nil
}

func (w *verifier) problem(p Problem) {
	if w.reported[p.String()] {
		return
	}
	if w.reported == nil {
		w.reported = map[string]bool{}
	}
	w.reported[p.String()] = true
	switch {
	case p.Missing:
		w.done.Missing++
	case p.Lost:
		w.done.Lost++
	default:
		w.done.Damaged++
	}
	w.v.Report(p)
}

func (w *verifier) run() error {
	of := w.v.Partitions
	if of == nil {
		of = new(Partitions)
	}
	shared, err := of.read(w.ctx, w.f.Partition)
	if err != nil {
		return err
	}
	if shared.repository != nil {
		w.problem(Problem{Object: repository.Key, Text: shared.repository.Error()})
	}
	if err := w.info(); err != nil {
		return err
	}
	if err := w.lock(); err != nil {
		return err
	}
	if err := w.holds(); err != nil {
		return err
	}
	if shared.upkeep != nil {
		w.problem(Problem{Object: repository.CollectionKey, Text: shared.upkeep.Error() + upkeepAdvice})
		w.diagnosis.collection = true
	}
	if !w.v.Quick {
		if err := errors.Join(w.upkeep(), w.stuck(of)); err != nil {
			return err
		}
	}
	if shared.condemned != nil { // if it is damaged, no daemon writes to the partition
		if err := w.damage(history.CondemnedKey, shared.condemned); err != nil {
			return err
		}
		w.diagnosis.condemned = true
	}
	var m *history.Mem
	if w.v.Quick {
		m, err = w.newest()
	} else {
		m, err = w.whole()
	}
	if err != nil || m == nil {
		return err
	}
	defer m.Close()
	if w.v.Quick {
		return nil
	}
	if err := w.mailboxes(m); err != nil {
		return err
	}
	return w.bodies(m)
}

// newest returns the state that a restore would read, from the newest checkpoint and the
// commits after it. If it is unreadable, newest reports that and returns nil.
func (w *verifier) newest() (*history.Mem, error) {
	w.step("checking the newest commits")
	m, err := w.f.Load(w.ctx, history.Moment{Tolerant: true})
	switch {
	case errors.Is(err, history.ErrBeforeFirst):
		return nil, nil // created, but without a commit
	case err != nil:
		return nil, w.damage("backups/"+w.f.Path, err)
	}
	w.gaps(m)
	w.done.Commits = int(m.Tip().Number - m.Checkpoint().Number)
	if m.Checkpoint().Number > 0 {
		w.done.Checkpoints = 1
	}
	// Load has read only the blocks that the commits change.
	err = m.CheckBlocks(w.ctx, w.seen, func(object string, err error) { w.problem(Problem{Object: object, Text: err.Error()}) })
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// whole checks every object of the backup, replays the log from its first commit and
// compares each checkpoint with the state at its commit.
func (w *verifier) whole() (*history.Mem, error) {
	first, newest, err := w.objects()
	if err == nil && newest == 0 {
		err = w.noLog()
	}
	if err != nil || newest == 0 {
		return nil, err
	}
	chain := &chain{w: w, newest: newest}
	if err := chain.begin(first); err != nil {
		return nil, err
	}
	if err := chain.follow(); err != nil {
		return nil, err
	}
	if err := chain.beyond(); err != nil {
		return nil, err
	}
	w.reportLog()
	return w.state()
}
