package ctlbackups

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// work is what compact has done to a backup, or would do.
type work struct {
	commits, segments int
	removed           int   // objects of merged commits
	bytes             int64 // of these objects
	retained          maintenance.RetainResult
	requests          maintenance.Requests // of a dry run
}

// text describes the work; "" = none.
func (w *work) text(r *retention) string {
	var parts []string
	if w.commits > 0 {
		parts = append(parts, fmt.Sprintf("%s into %s", objects(int64(w.commits), "commit"), objects(int64(w.segments), "segment")))
	}
	if w.removed > 0 {
		parts = append(parts, fmt.Sprintf("%s (%s) removed", objects(int64(w.removed), "object"), binary(w.bytes)))
	}
	if text := r.text(&w.retained); text != "" {
		verb := "removed"
		if r.c.dryRun {
			verb = "removes"
		}
		parts = append(parts, fmt.Sprintf("retention %s %s", verb, text))
	}
	return strings.Join(parts, ", ")
}

// result counts and prints the result of a backup.
func (k *compaction) result(f *repository.Found, w *work, err error) error {
	switch {
	case err == nil:
		k.compacted++
	case errors.Is(err, errSkipped):
		k.skipped++
	case errors.Is(err, repository.ErrOnHold):
		k.held++
	}
	k.record.add(f.Partition.Name, failedWork(err))
	if w != nil && !k.c.dryRun {
		k.merged.Commits += w.commits
		k.merged.Segments += w.segments
		k.merged.Removed += w.removed
		k.merged.Bytes += w.bytes
	}
	if perr := k.print(f, w, err); perr != nil {
		return perr
	}
	switch {
	case !failedWork(err):
		return nil
	case k.c.ctx.Err() != nil:
		return k.c.ctx.Err()
	}
	if k.noRoomAgain(err) {
		k.failures++
		return cli.ErrReported
	}
	k.failed(f, err)
	return fmt.Errorf("compact %s: %w", label(f), err)
}

// noRoomAgain reports whether err is about temporary files, as an earlier one was. The line about that one names the
// cause, and is enough.
func (k *compaction) noRoomAgain(err error) bool {
	was, is := k.noRoom, errors.Is(err, history.ErrTemporaryFile)
	k.noRoom = was || is
	return was && is
}

// failedWork reports whether a result is a failure.
func failedWork(err error) bool {
	return err != nil && !errors.Is(err, errSkipped) && !errors.Is(err, repository.ErrOnHold)
}

// failed counts a backup that was not compacted. If that is not because of another program, it
// writes a line to syslog: master discards what the program prints.
func (k *compaction) failed(f *repository.Found, err error) {
	if errors.Is(err, cyrus.ErrLocked) {
		k.locked++
		return
	}
	k.failures++
	if !k.c.dryRun {
		k.c.audit.Alarm(k.c.bucket.Conf, "a backup cannot be compacted", "backup", f.Path, "partition", f.Partition.Name, "err", err)
	}
}

// print prints the line of a backup. If there may be many, it does so only with -v; standard error has
// a line for each failure anyway.
func (k *compaction) print(f *repository.Found, w *work, err error) error {
	if k.c.structured() {
		return k.object(f, w, err)
	}
	if k.c.many() && k.c.verbose == 0 {
		return nil
	}
	word, reason := statusOf(err)
	switch {
	case reason != "" && (word == "failed" || k.c.verbose > 0):
		word += " (" + reason + ")"
	case w != nil && err == nil && (k.c.verbose > 0 || k.c.dryRun):
		if k.c.dryRun {
			word = "to do"
		}
		word += ": " + w.text(k.retention)
	}
	_, perr := cli.Fprintf(k.c.out, "compact %s: %s\n", label(f), word)
	if perr == nil {
		perr = k.c.flush() // a run takes hours
	}
	return perr
}

// object prints the result of a backup as JSON.
func (k *compaction) object(f *repository.Found, w *work, err error) error {
	word, reason := statusOf(err)
	out := struct {
		Command   string                `json:"command"`
		UserID    string                `json:"userid,omitempty"`
		Path      string                `json:"fname"`
		Status    string                `json:"status"`
		Reason    string                `json:"reason,omitempty"`
		DryRun    bool                  `json:"dry_run,omitempty"`
		Commits   int                   `json:"commits"`
		Segments  int                   `json:"segments"`
		Removed   int                   `json:"removed"` // objects of merged commits
		Bytes     int64                 `json:"bytes"`   // of these objects
		Requests  *maintenance.Requests `json:"requests,omitempty"`
		Retention *retained             `json:"retention,omitempty"`
	}{Command: "compact", UserID: userID(f), Path: place(f), Status: word, Reason: reason, DryRun: k.c.dryRun}
	if w != nil {
		out.Commits, out.Segments, out.Removed, out.Bytes, out.Retention = w.commits, w.segments, w.removed, w.bytes, retainedOf(&w.retained)
		if k.c.dryRun {
			out.Requests = &w.requests
		}
	}
	return k.c.object(out)
}

// summary prints the totals of many backups.
func (k *compaction) summary() error {
	c := k.c
	if k.late {
		cli.Fprintf(c.err, "ctl_backups: the time of --for has passed: run compact again for the backups that are left\n")
	}
	if !c.many() || c.structured() {
		return nil
	}
	if _, err := cli.Fprintf(c.out, "%s\n", k.counts()); err != nil {
		return err
	}
	if text := k.mergedText(); text != "" {
		if _, err := cli.Fprintf(c.out, "%s\n", text); err != nil {
			return err
		}
	}
	return k.retention.summary()
}

// counts describes how many backups had which result.
func (k *compaction) counts() string {
	verb := "compacted"
	if k.c.dryRun {
		verb = "to be compacted"
	}
	text := fmt.Sprintf("%s %s", objects(int64(k.compacted), "backup"), verb)
	for _, x := range []struct {
		n    int
		what string
	}{{k.skipped, "with nothing to do"}, {k.held, "on hold (ctl_backups list --holds)"}, {k.locked, "locked"}, {k.failures, "failed"}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %d %s", x.n, x.what)
		}
	}
	return text
}

// mergedText describes the merge of all backups; "" = nothing was merged.
func (k *compaction) mergedText() string {
	if k.c.dryRun {
		if k.dry.commits == 0 {
			return ""
		}
		return fmt.Sprintf("merge: %s (%s) into about %s", objects(int64(k.dry.commits), "commit"), binary(k.dry.bytes), objects(int64(k.dry.segments), "segment"))
	}
	packs, bytes := 0, int64(0)
	for _, p := range k.parts {
		if p.merger != nil {
			n, b := p.merger.Packed()
			packs, bytes = packs+n, bytes+b
		}
	}
	if k.merged.Commits+k.merged.Removed+packs == 0 {
		return ""
	}
	text := fmt.Sprintf("merge: %s into %s", objects(int64(k.merged.Commits), "commit"), objects(int64(k.merged.Segments), "segment"))
	if packs > 0 {
		text += fmt.Sprintf(", %s (%s) added", objects(int64(packs), "pack"), binary(bytes))
	}
	return text + fmt.Sprintf(", %s (%s) removed", objects(int64(k.merged.Removed), "object"), binary(k.merged.Bytes))
}
