package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Reasons of a history.LostRange.
const (
	lostMissing = "missing"
	lostDamaged = "damaged"
)

// diagnosis is the damage that verify has found, as input for a repair.
type diagnosis struct {
	unfinished            error // a copy has not put all of the log
	info, lock, condemned bool  // damaged: backup.json, lock.json, condemned.json
	collection            bool  // damaged: upkeep.json of the partition
	stuck                 stuck
	log                   []history.LostRange  // unreadable commits without a bridge
	bridged               []history.LostRange  // commits that bridges name
	objects               []string             // damaged objects of the log, perhaps only in part
	checkpoints           map[uint64]bool      // damaged, or with damaged blocks
	differ                map[uint64]bool      // checkpoints that differ from the log
	bodies                []cyrus.GUID         // unreadable messages
	absent                map[cyrus.GUID]int64 // see unknown
	mailboxes             map[string]bool      // uniqueids of mailboxes whose state is wrong
}

func (d *diagnosis) checkpoint(n uint64) { put(&d.checkpoints, n, true) }

func (d *diagnosis) wrong(n uint64) { put(&d.differ, n, true) }

func (d *diagnosis) resync(id string) { put(&d.mailboxes, id, true) }

// unknown records the size of a message that a live record refers to but that the backup
// does not have.
func (d *diagnosis) unknown(g cyrus.GUID, size int64) { put(&d.absent, g, size) }

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// loggedProblems are the problems of the log. They are reported after the whole log was
// read, because a bridge at its end may name them.
type loggedProblems struct {
	present []history.LostRange // commits that exist, as ranges without reasons
	bad     []logProblem
	known   []history.LostRange // ranges in bridges
	// unchecked is the commit where the chain breaks without a later checkpoint, or 0.
	unchecked uint64
}

type logProblem struct {
	from, to uint64
	object   string
	err      error
}

// addPresent records that an object has commits. The caller goes in order of keys.
func (l *loggedProblems) addPresent(from, to uint64) {
	if n := len(l.present) - 1; n >= 0 && from <= l.present[n].To+1 {
		l.present[n].To = max(l.present[n].To, to)
		return
	}
	l.present = append(l.present, history.LostRange{From: from, To: to})
}

// next returns the first existing commit from n on, or 0.
func (l *loggedProblems) next(n uint64) uint64 {
	for _, r := range l.present {
		if r.To >= n {
			return max(r.From, n)
		}
	}
	return 0
}

func (l *loggedProblems) add(from, to uint64, object string, err error) {
	if err != nil {
		l.bad = append(l.bad, logProblem{from, to, object, err})
	}
}

// bridgedBy returns the range in a bridge that includes all these commits.
func (l *loggedProblems) bridgedBy(from, to uint64) (history.LostRange, bool) {
	for _, r := range l.known {
		if r.From <= from && to <= r.To {
			return r, true
		}
	}
	return history.LostRange{}, false
}

// reportLog reports the problems of the log. Losses that a bridge names are not damage.
func (w *verifier) reportLog() {
	whole := true
	w.diagnosis.bridged = w.log.known
	for _, p := range w.log.bad {
		if r, ok := w.log.bridgedBy(p.from, p.to); ok {
			w.problem(Problem{Object: history.LogPrefix(w.f.Path), Text: r.String() + ": known to be lost: the log records the loss and continues after it", Lost: true})
			continue
		}
		w.problem(Problem{Object: p.object, Text: p.err.Error()})
		w.diagnose(p)
		whole = false
	}
	if w.log.unchecked > 0 && !whole { // after a bridge each commit was checked on its own
		w.problem(Problem{Object: "backups/" + w.f.Path, Text: fmt.Sprintf("commits from %d on could not be checked", w.log.unchecked)})
	}
}

// diagnose records lost commits, and damaged objects from which a commit may be recovered.
func (w *verifier) diagnose(p logProblem) {
	reason := lostDamaged
	if errors.Is(p.err, history.ErrAbsent) {
		reason = lostMissing
	}
	if p.from == p.to && reason == lostDamaged && !slices.Contains(w.diagnosis.objects, p.object) {
		w.diagnosis.objects = append(w.diagnosis.objects, p.object)
	}
	w.diagnosis.log = append(w.diagnosis.log, history.LostRange{From: p.from, To: p.to, Reason: reason})
}

// gaps reports the commits that are missing from a state.
func (w *verifier) gaps(m *history.Mem) {
	if err := m.Unfinished(); err != nil {
		w.unfinished(err)
	}
	w.log.known = append(w.log.known, m.Bridged()...)
	for _, g := range m.Gaps() {
		w.log.add(g.From, g.To, history.LogKey(w.f.Path, g.From), g.Err)
	}
	for _, d := range m.Skipped() {
		w.problem(Problem{Object: d.Object, Text: d.Err.Error()})
	}
	w.reportLog()
}

// state returns the newest readable state, as a restore would read it. If there is none,
// it reports that and returns nil.
func (w *verifier) state() (*history.Mem, error) {
	m, err := soundState(w.ctx, w.f, w.unsound)
	return m, w.damage("backups/"+w.f.Path, err)
}

// soundState returns the newest state that is completely readable, from the newest
// checkpoint if all its blocks are sound, or else from the log alone.
func soundState(ctx context.Context, f *repository.Found, unsound func(object string) bool) (*history.Mem, error) {
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if err == nil && !m.NamesBlocksIn(unsound) {
		return withBeginning(ctx, f, m)
	}
	if err == nil {
		err = m.Close()
	}
	if err != nil && !history.IsUnreadable(err) {
		return nil, err
	}
	if m, err = f.Load(ctx, history.Moment{FromLog: true, Tolerant: true}); err != nil {
		return nil, err
	}
	if m.Checkpoint().Number > 0 && m.NamesBlocksIn(unsound) {
		return nil, errors.Join(history.ErrNoBeginning, m.Close())
	}
	return withBeginning(ctx, f, m)
}

// withBeginning returns history.ErrNoBeginning if a state lacks the commits that retention has removed.
func withBeginning(ctx context.Context, f *repository.Found, m *history.Mem) (*history.Mem, error) {
	if err := f.Log().CheckBeginning(ctx, m); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}
