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

// diagnosis is what verify has found, for a repair.
type diagnosis struct {
	info, lock, condemned bool                // backup.json, lock.json, condemned.json
	log                   []history.LostRange // commits that cannot be read, and that no bridged event names
	objects               []string            // of the log, that are damaged in a part
	checkpoints           map[uint64]bool     // damaged, or with damaged blocks
	differ                map[uint64]bool     // checkpoints that are not what the log folds to
	bodies                []cyrus.GUID        // messages that cannot be read
	absent                map[cyrus.GUID]int64
	mailboxes             map[string]bool // uniqueids of those whose state is wrong
}

func (d *diagnosis) checkpoint(n uint64) { put(&d.checkpoints, n, true) }

func (d *diagnosis) wrong(n uint64) { put(&d.differ, n, true) }

func (d *diagnosis) resync(id string) { put(&d.mailboxes, id, true) }

// unknown notes a message that a live record names and the backup does not know.
func (d *diagnosis) unknown(g cyrus.GUID, size int64) { put(&d.absent, g, size) }

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// loggedProblems are problems of the log, kept until the whole log was read: a bridged
// event at its end can name them.
type loggedProblems struct {
	there []history.LostRange // commits that there are, in runs; without reasons
	bad   []logProblem
	known []history.LostRange // that bridged events name
	// unchecked is where the chain of commits breaks with no checkpoint behind it; 0 = it does not.
	unchecked uint64
}

type logProblem struct {
	from, to uint64
	object   string
	err      error
}

// have notes that an object holds commits. Objects come in order of their keys.
func (l *loggedProblems) have(from, to uint64) {
	if n := len(l.there) - 1; n >= 0 && from <= l.there[n].To+1 {
		l.there[n].To = max(l.there[n].To, to)
		return
	}
	l.there = append(l.there, history.LostRange{From: from, To: to})
}

// next is the first commit from n on that some object holds; 0 = there is none.
func (l *loggedProblems) next(n uint64) uint64 {
	for _, r := range l.there {
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

// records says which bridged event names all these commits.
func (l *loggedProblems) records(from, to uint64) (history.LostRange, bool) {
	for _, r := range l.known {
		if r.From <= from && to <= r.To {
			return r, true
		}
	}
	return history.LostRange{}, false
}

// tellLog reports what is wrong with the log, apart from what the log itself records.
func (w *verifier) tellLog() {
	whole := true
	for _, p := range w.log.bad {
		if r, ok := w.log.records(p.from, p.to); ok {
			w.problem(Problem{Object: history.LogPrefix(w.f.Path), Text: r.String() + ": known to be lost: the log records it, and goes on without", Lost: true})
			continue
		}
		w.problem(Problem{Object: p.object, Text: p.err.Error()})
		w.diagnose(p)
		whole = false
	}
	if w.log.unchecked > 0 && !whole { // behind a bridge each commit counts for itself
		w.problem(Problem{Object: "backups/" + w.f.Path, Text: fmt.Sprintf("the commits from %d on could not be checked", w.log.unchecked)})
	}
}

// diagnose tells commits that are lost from objects that lack something else.
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

// gaps reports the commits that a state lacks.
func (w *verifier) gaps(m *history.Mem) {
	w.log.known = append(w.log.known, m.Bridged()...)
	for _, g := range m.Gaps() {
		w.log.add(g.From, g.To, history.LogKey(w.f.Path, g.From), g.Err)
	}
	for _, d := range m.Skipped() {
		w.problem(Problem{Object: d.Object, Text: d.Err.Error()})
	}
	w.tellLog()
}

// state is the newest state that can be read, as a restore would read it; nil when there is
// none, which was reported.
func (w *verifier) state() (*history.Mem, error) {
	m, err := soundState(w.ctx, w.f, w.unsound)
	return m, w.damage("backups/"+w.f.Path, err)
}

// soundState is the newest state that can be read whole: from the newest checkpoint whose
// blocks are all sound, or from the log alone.
func soundState(ctx context.Context, f *repository.Found, unsound func(object string) bool) (*history.Mem, error) {
	m, err := f.Load(ctx, history.Moment{Tolerant: true})
	if err == nil && !m.NamesBlocksIn(unsound) {
		return m, nil
	}
	if err == nil {
		err = m.Close()
	}
	if err != nil && !history.IsUnreadable(err) {
		return nil, err
	}
	return f.Load(ctx, history.Moment{FromLog: true, Tolerant: true})
}
