package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// Results of a backup.
const (
	resultDone       = "done"
	resultIncomplete = "incomplete" // something could not be restored; each failure has a line
	resultFailed     = "failed"
	resultNotTried   = "not tried" // the server or the disk had failed before
)

// userResult is the result of one backup.
type userResult struct {
	Backup string // its path; "" = a partition could not be read
	Name   string
	AsOf   time.Time
	Result string
	Why    string
	restore.Sums
}

// because sets the result that an error means.
func (u *userResult) because(err error) {
	switch {
	case err == nil:
		u.Result = resultDone
	case errors.Is(err, restore.ErrNothing):
		u.Result, u.Why = resultDone, err.Error()
	case errors.Is(err, cli.ErrReported):
		u.Result, u.Why = resultIncomplete, english.Plural(u.Problems, "problem", "")
	case errors.Is(err, errUnusable) && u.AsOf.IsZero():
		u.Result = resultNotTried // an earlier backup has reported the reason
	default:
		u.Result, u.Why = resultFailed, err.Error()
	}
}

// kept limits the failures that are repeated at the end.
const kept = 1000

// batchReport is the report of a restore of many users: a line for each finished backup, and
// at the end the sums and the failures. It is safe for concurrent use.
type batchReport struct {
	mu      sync.Mutex
	std     stdio
	json    *json.Encoder
	bar     *progress
	users   map[string]int        // by result, in the current phase
	failed  map[string]userResult // by backup: failures of its last phase, at most kept
	more    int                   // further failures
	sums    restore.Sums
	earlier int
}

func newBatchReport(o *options, std stdio) *batchReport {
	r := &batchReport{std: std, bar: newProgress(o, std.err), users: map[string]int{}, failed: map[string]userResult{}}
	if o.json {
		r.json = json.NewEncoder(std.out)
	}
	return r
}

const crowdRow = "%-32s %9v %9v %10v %9v  %s\n"

// phase starts a phase.
func (r *batchReport) phase(p phase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.users)
	r.earlier = 0
	if r.json != nil {
		return
	}
	if p.name != "" {
		r.print("mail %s:\n", p.name)
	}
	r.print(crowdRow, "backup", "mailboxes", "messages", "size", "there", "result")
}

// user reports a finished backup.
func (r *batchReport) user(u userResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[u.Result]++
	r.sums.Folders += u.Folders
	r.sums.Added += u.Added
	r.sums.There += u.There
	r.sums.Bytes += u.Bytes
	r.sums.Problems += u.Problems
	switch _, before := r.failed[u.Backup]; {
	case u.Result == resultDone:
		delete(r.failed, u.Backup) // a later phase restores the rest
	case before || len(r.failed) < kept:
		r.failed[u.Backup] = u
	default:
		r.more++
	}
	if r.json != nil {
		r.encode(u)
		return
	}
	r.print(crowdRow, u.label(), u.Folders, u.Added, humanize.IBytes(uint64(u.Bytes)), u.There, u.outcome())
}

func (u *userResult) outcome() string {
	if u.Why == "" {
		return u.Result
	}
	return u.Result + ": " + u.Why
}

func (u *userResult) label() string {
	if u.Backup == "" {
		return "(a partition)"
	}
	return u.Backup
}

// before counts a backup that an earlier run has finished.
func (r *batchReport) before() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.earlier++
}

func (r *batchReport) encode(u userResult) {
	line := map[string]any{"backup": u.Backup, "name": u.Name, "result": u.Result, "mailboxes": u.Folders, "messages": u.Added, "bytes": u.Bytes,
		"there": u.There, "problems": u.Problems}
	if u.Why != "" {
		line["why"] = u.Why
	}
	if !u.AsOf.IsZero() {
		line["as_of"] = u.AsOf.UTC()
	}
	_ = r.json.Encode(line) // standard output is closed
}

func (r *batchReport) print(format string, args ...any) {
	r.bar.print(r.std.out, fmt.Sprintf(format, args...))
}

// complain writes a line about a failure.
func (r *batchReport) complain(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bar.line(r.std.err, s)
}

// end prints the sums and the failures.
func (r *batchReport) end(dryRun bool) error {
	r.bar.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	total := len(r.failed) + r.more
	if r.json != nil {
		if err := r.json.Encode(map[string]any{"done": r.users[resultDone], "done_before": r.earlier, "failed": total, "mailboxes": r.sums.Folders,
			"messages": r.sums.Added, "bytes": r.sums.Bytes, "there": r.sums.There, "problems": r.sums.Problems, "dry_run": dryRun}); err != nil {
			return err
		}
	} else {
		r.sum(dryRun, total)
	}
	if total > 0 {
		return cli.ErrReported
	}
	return nil
}

func (r *batchReport) sum(dryRun bool, total int) {
	form := "%s done, %d done before, %d failed: %s added (%s), %d %s there\n"
	if dryRun {
		form = "dry run, nothing was changed: " + form
	}
	r.print(form, english.Plural(r.users[resultDone], "backup", ""), r.earlier, total, english.Plural(r.sums.Added, "message", ""),
		humanize.IBytes(uint64(r.sums.Bytes)), r.sums.There, english.PluralWord(r.sums.There, "was", "were"))
	if total == 0 {
		return
	}
	r.print("not complete:\n")
	for _, backup := range slices.Sorted(maps.Keys(r.failed)) {
		u := r.failed[backup]
		r.print("  %-32s %s\n", u.label(), u.outcome())
	}
	if r.more > 0 {
		r.print("  and %d more\n", r.more)
	}
}

// Total implements restore.Progress. The total over all users is unknown.
func (r *batchReport) Total(int, int64) {}

// Add implements restore.Progress.
func (r *batchReport) Add(messages int, bytes int64) { r.bar.Add(messages, bytes) }
