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

// Problem is one thing that is wrong with a backup.
type Problem struct {
	Object  string // key, or the mailbox that it is about
	Text    string
	Missing bool // a body that the source is asked for: nothing here is damaged
	Lost    bool // history that the log itself records as lost: it is known, and nothing is to be done
}

// String is the line for people.
func (p Problem) String() string {
	if strings.HasPrefix(p.Text, p.Object+":") {
		return p.Text
	}
	return p.Object + ": " + p.Text
}

// Options says how to verify. Report is told of each problem as it is found, on
// the goroutine that verifies; Step of what is looked at now (nil = nobody listens).
type Options struct {
	Quick  bool // the newest checkpoint and the commits after it, and no bodies
	Report func(Problem)
	Step   func(string)
}

// Result is what was looked at.
type Result struct {
	Objects, Commits, Checkpoints, Mailboxes, Messages int
	Bytes                                              int64 // of bodies
	Damaged, Missing, Lost                             int   // problems
}

// Run compares what a backup says with what is in its partition. Damage goes to
// Report and does not end it; the error is of a store that could not be asked.
func Run(ctx context.Context, f *repository.Found, v Options) (Result, error) {
	w := newVerifier(ctx, f, v)
	err := w.run()
	return w.done, err
}

func newVerifier(ctx context.Context, f *repository.Found, v Options) *verifier {
	return &verifier{ctx: ctx, f: f, v: v, store: rangecache.New(f.Partition.Store, 16<<20), seen: map[string]bool{}, blocks: map[string]bool{}}
}

type verifier struct {
	ctx      context.Context // of Verify
	f        *repository.Found
	v        Options
	store    objstore.Store
	done     Result
	seen     map[string]bool // blocks that were read, by object and hash
	reported map[string]bool // problems, by text

	blocks    map[string]bool // objects in records/: whether they are sound
	log       loggedProblems
	diagnosis diagnosis
}

func (w *verifier) step(format string, args ...any) {
	if w.v.Step != nil {
		w.v.Step(fmt.Sprintf(format, args...))
	}
}

// damage reports err if it is damage, once, and returns it otherwise.
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
	if _, err := repository.ReadInfo(w.ctx, w.f.Partition.Store); err != nil {
		if objstore.IsTemporary(err) || w.ctx.Err() != nil {
			return err
		}
		w.problem(Problem{Object: repository.Key, Text: err.Error()})
	}
	if err := w.info(); err != nil {
		return err
	}
	if err := w.lock(); err != nil {
		return err
	}
	if _, _, err := history.ReadCondemned(w.ctx, w.f.Partition.Store); err != nil {
		if err := w.damage(history.CondemnedKey, err); err != nil { // no daemon writes to the partition then
			return err
		}
		w.diagnosis.condemned = true
	}
	var m *history.Mem
	var err error
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

// newest is the state that a restore would begin with: the newest checkpoint, and the
// commits after it. nil when it cannot be read, which has been reported.
func (w *verifier) newest() (*history.Mem, error) {
	w.step("checking the newest commits")
	m, err := w.f.Load(w.ctx, history.Moment{Tolerant: true})
	switch {
	case errors.Is(err, history.ErrBeforeFirst):
		return nil, nil // made, and never written to
	case err != nil:
		return nil, w.damage("backups/"+w.f.Path, err)
	}
	w.gaps(m)
	w.done.Commits = int(m.Tip().Number - m.Checkpoint().Number)
	if m.Checkpoint().Number > 0 {
		w.done.Checkpoints = 1
	}
	// What the commits have not touched was not read yet.
	err = m.CheckBlocks(w.ctx, w.seen, func(object string, err error) { w.problem(Problem{Object: object, Text: err.Error()}) })
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// whole checks every object of the backup, follows the log from its first commit and
// compares each checkpoint with the state there.
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
	w.tellLog()
	return w.state()
}
