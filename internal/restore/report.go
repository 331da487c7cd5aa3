package restore

import (
	"fmt"
	"sync"
)

// Progress is told how far a restore has come, from many goroutines.
type Progress interface {
	Total(messages int, bytes int64) // what is to do, as far as it is known; told anew when it is known better
	Add(messages int, bytes int64)   // done, whether it was sent or is there already
}

// Report gathers what a restore did and what went wrong. Its methods may be called
// from many goroutines.
type Report struct {
	Progress Progress
	Line     func(string) // a line about what is, or would be, changed; nil = none
	Problem  func(error)  // something that could not be restored
	Warning  func(string) // something to know that is no problem; nil = none

	mu       sync.Mutex
	added    int
	bytes    int64
	there    int
	folders  int
	problems int
}

// Added counts messages that the destination has now and had not before; in a dry
// run, that it would have.
func (r *Report) Added(messages int, bytes int64) {
	r.mu.Lock()
	r.added += messages
	r.bytes += bytes
	r.mu.Unlock()
	r.Progress.Add(messages, bytes)
}

// Recount takes back what Added has counted: the destination had it already (there), or
// did not get it after all.
func (r *Report) Recount(messages int, bytes int64, there bool) {
	r.mu.Lock()
	r.added -= messages
	r.bytes -= bytes
	if there {
		r.there += messages
	}
	r.mu.Unlock()
}

// There counts messages that the destination had already.
func (r *Report) There(messages int, bytes int64) {
	r.mu.Lock()
	r.there += messages
	r.mu.Unlock()
	r.Progress.Add(messages, bytes)
}

// Folder counts a folder that is complete.
func (r *Report) Folder() {
	r.mu.Lock()
	r.folders++
	r.mu.Unlock()
}

// Say writes a line about a change.
func (r *Report) Say(format string, args ...any) {
	if r.Line != nil {
		r.Line(fmt.Sprintf(format, args...))
	}
}

// Warn says something that a person has to know, whatever lines are asked for.
func (r *Report) Warn(format string, args ...any) {
	if r.Warning != nil {
		r.Warning(fmt.Sprintf(format, args...))
	}
}

// Fail notes something that could not be restored; the restore goes on.
func (r *Report) Fail(err error) {
	r.mu.Lock()
	r.problems++
	r.mu.Unlock()
	r.Problem(err)
}

// Sums is what a Report has counted.
type Sums struct {
	Added, There, Folders, Problems int
	Bytes                           int64
}

// Sums returns the counts so far.
func (r *Report) Sums() Sums {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Sums{Added: r.added, There: r.there, Folders: r.folders, Problems: r.problems, Bytes: r.bytes}
}
