package restore

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// summary prints the last line, for people.
func (j *job) summary(s restore.Sums, err error) {
	if err != nil && s == (restore.Sums{Problems: s.Problems}) {
		return // nothing was started: the error is enough
	}
	if err != nil {
		fmt.Fprint(j.std.out, "ended early: ")
	}
	form := "%s restored as of %s: %s added (%s), %s %s there, %s\n"
	were := english.PluralWord(s.There, "was", "were")
	if j.dryRun {
		form = "dry run, nothing was changed: %s as of %s: %s would be added (%s), %s %s there, %s\n"
		were = english.PluralWord(s.There, "is", "are")
	}
	fmt.Fprintf(j.std.out, form, english.Plural(s.Folders, "mailbox", "mailboxes"), j.asOfText(),
		english.Plural(s.Added, "message", ""), humanize.IBytes(uint64(s.Bytes)), humanize.Comma(int64(s.There)), were, english.Plural(s.Problems, "problem", "")+erasedText(s.Erased))
}

// erasedText counts messages that were not restored because they were erased.
func erasedText(n int) string {
	if n == 0 {
		return ""
	}
	return ", " + english.Plural(n, "message", "") + " erased from the backup"
}

// asOfText returns the requested time, and the time of the last change before it.
func (j *job) asOfText() string {
	changed := timespec.Text(j.asOf)
	if j.current() || j.moment.Time.IsZero() {
		return changed
	}
	if asked := timespec.Text(j.moment.Time); asked != changed {
		return asked + " (last change " + changed + ")"
	}
	return changed
}

// current reports whether no moment was requested.
func (o *options) current() bool { return o.ofNow || o.moment == history.Moment{} }

// newest reports whether the newest state was requested. It lacks mail that was deleted
// earlier, which may be a surprise.
func (j *job) newest() bool {
	s := &j.selection
	return j.current() && j.life == 0 && s.Deleted == restore.ByObject && s.Since.IsZero() && s.Until.IsZero() && !j.flagsOnly
}

// reportDeletions reports that an earlier state has more mail, which this run did not restore.
func (j *job) reportDeletions(ctx context.Context, sel *restore.Selection) error {
	if !j.newest() {
		return nil
	}
	g, err := j.src.Deletions(j.selection, sel)
	if err != nil {
		return explain(err, j.options)
	}
	if g.WorthReporting() {
		j.note("%s in the selection, and %s", left(g.Live), j.deletionText(ctx, g))
	}
	return nil
}

// nothingLeft returns the error of a restore of all mail when no mail is left.
func (j *job) nothingLeft(ctx context.Context) error {
	g, err := j.src.Deletions(j.selection, nil)
	if err != nil {
		return explain(err, j.options)
	}
	if !j.newest() || g.Recoverable == 0 {
		return fmt.Errorf("the backup of %s has nothing live as of %s: cyr_backup %s log shows the deletions, and --at TIME restores an earlier state (%w)",
			j.backup, timespec.Text(j.asOf), j.backup, restore.ErrNothing)
	}
	return fmt.Errorf("the backup of %s has nothing live: %s (%w)", j.backup, j.deletionText(ctx, g), restore.ErrNothing)
}

func left(n int) string {
	if n == 0 {
		return "no message is left"
	}
	return fmt.Sprintf("%s %s left", english.Plural(n, "message", ""), english.PluralWord(n, "is", "are"))
}

// deletionText describes the deleted mail, and names the command that restores it.
func (j *job) deletionText(ctx context.Context, g *restore.Deletions) string {
	what := "it"
	switch {
	case g.Recoverable < g.Lost:
		what = fmt.Sprintf("%d of them", g.Recoverable)
	case g.Lost > 1:
		what = "them"
	}
	at, option := j.momentOf(ctx, g.Commit)
	return fmt.Sprintf("%s %s deleted since%s. This restores %s: %s", english.Plural(g.Lost, "other message", ""),
		english.PluralWord(g.Lost, "was", "were"), at, what, j.commandAt(option))
}

// momentOf names the moment of a commit: by its time, unless the next commit has the same time.
func (j *job) momentOf(ctx context.Context, n uint64) (at, option string) {
	number := fmt.Sprintf("--commit %d", n)
	h, err := j.found.Log().Header(ctx, n)
	if err != nil {
		return "", number // damaged
	}
	// A time with seconds includes that whole second.
	next, err := j.found.Log().Header(ctx, n+1)
	if second := h.Time.Truncate(time.Second); err != nil || next.Time.Before(second.Add(time.Second)) {
		return " " + timespec.Text(h.Time), number
	}
	return " " + timespec.Text(h.Time), "--at " + h.Time.Truncate(time.Second).Local().Format(time.RFC3339)
}

// note prints information that is neither a warning nor an error.
func (j *job) note(format string, args ...any) {
	fmt.Fprintf(j.std.err, "restore: note: "+format+"\n", args...)
}

// commandAt returns the current command line with another moment.
func (j *job) commandAt(option string) string {
	words := []string{"restore", option}
	for _, a := range j.argv {
		words = append(words, quoted(a))
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_-]+$`)

// quoted quotes a word for the shell.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// trace returns pairs for the log about a restore.
func (j *job) trace(s restore.Sums) []any {
	what := strings.Join(j.selection.Objects, " ")
	if j.selection.All {
		what = "all"
	}
	to := j.server
	if j.toFiles != "" && j.toFiles != "imap" {
		to = j.toFiles + ":" + to
	}
	if j.heir != "" {
		to += " (" + j.heir + ")"
	}
	return []any{"backup", j.backup, "what", what, "as_of", j.asOf.UTC().Format(time.RFC3339), "to", to,
		"mailboxes", s.Folders, "messages", s.Added, "bytes", s.Bytes, "there", s.There, "problems", s.Problems}
}

// leftOut lists what a destination cannot hold; "" = it can hold everything.
func leftOut(kind string) string {
	switch kind {
	case "imap":
		return "left out, because IMAP cannot transfer them: ACLs, annotations, quota, scripts, uids, uniqueids, modseqs"
	case "maildir":
		return "left out, because a Maildir cannot hold them: annotations, quota, seen state elsewhere, uids, modseqs"
	case "mbox":
		return "left out, because an mbox cannot hold them: subscriptions, annotations, quota, seen state elsewhere, uids, modseqs"
	case "eml", "tar":
		return "left out: annotations of mailboxes and messages, modseqs"
	}
	return ""
}
