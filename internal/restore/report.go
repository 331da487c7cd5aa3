package restore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Progress is notified of the progress of a restore. A Report makes one call at a time.
type Progress interface {
	Total(messages int, bytes int64) // the work known so far; called again when the estimate changes
	Add(messages int, bytes int64)   // done: sent, or present already
}

// Report collects the results and errors of a restore. Its methods may be called from many
// goroutines. It makes one call of its functions and of Progress at a time; they may call Sums,
// and no other method.
type Report struct {
	Progress Progress
	Line     func(string) // prints a change, made or planned; nil = none
	Problem  func(error)  // reports an item that could not be restored
	Warning  func(string) // reports something that is not a problem; nil = none

	calls sync.Mutex // held while a function or Progress runs

	mu       sync.Mutex
	added    int
	bytes    int64
	there    int
	folders  int
	problems int
	erased   int
}

// Added counts messages that the destination did not have before; in a dry run, messages
// that would be added.
func (r *Report) Added(messages int, bytes int64) {
	r.mu.Lock()
	r.added += messages
	r.bytes += bytes
	r.mu.Unlock()
	r.calls.Lock()
	defer r.calls.Unlock()
	r.Progress.Add(messages, bytes)
}

// Recount takes back a count of Added: the destination already had the messages (there), or
// did not store them after all.
func (r *Report) Recount(messages int, bytes int64, there bool) {
	r.mu.Lock()
	r.added -= messages
	r.bytes -= bytes
	if there {
		r.there += messages
	}
	r.mu.Unlock()
}

// There counts messages that the destination already had.
func (r *Report) There(messages int, bytes int64) {
	r.mu.Lock()
	r.there += messages
	r.mu.Unlock()
	r.calls.Lock()
	defer r.calls.Unlock()
	r.Progress.Add(messages, bytes)
}

// Folder counts a folder that is complete.
func (r *Report) Folder() {
	r.mu.Lock()
	r.folders++
	r.mu.Unlock()
}

// Say prints a line about a change.
func (r *Report) Say(format string, args ...any) {
	if r.Line != nil {
		r.calls.Lock()
		defer r.calls.Unlock()
		r.Line(fmt.Sprintf(format, args...))
	}
}

// Warn prints something that the user has to know, even if change lines are off.
func (r *Report) Warn(format string, args ...any) {
	if r.Warning != nil {
		r.calls.Lock()
		defer r.calls.Unlock()
		r.Warning(fmt.Sprintf(format, args...))
	}
}

// Fail reports an item that could not be restored; the restore continues. A message that was erased is no problem.
func (r *Report) Fail(err error) {
	var erased *history.ErasedError
	if errors.As(err, &erased) {
		r.Erased(err)
		return
	}
	r.mu.Lock()
	r.problems++
	r.mu.Unlock()
	r.calls.Lock()
	defer r.calls.Unlock()
	r.Problem(err)
}

// Erased reports a message whose body was erased from the backup.
func (r *Report) Erased(err error) {
	r.mu.Lock()
	r.erased++
	r.mu.Unlock()
	r.Warn("%v", err)
}

// Sums are the counts of a Report.
type Sums struct {
	Added, There, Folders, Problems int
	Erased                          int // messages that were not restored because they were erased
	Bytes                           int64
}

// Sums returns the counts so far.
func (r *Report) Sums() Sums {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Sums{Added: r.added, There: r.there, Folders: r.folders, Problems: r.problems, Erased: r.erased, Bytes: r.bytes}
}
