package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"backupd/internal/restore"
	"backupd/partitions/history"
)

// timeForm is how times are printed: as people write them, with the offset.
const timeForm = "2006-01-02 15:04:05 -0700"

// summary is the last line, for a person.
func (j *job) summary(s restore.Sums) {
	form := "%s restored as of %s: %s added (%s), %d %s there, %s\n"
	were := english.PluralWord(s.There, "was", "were")
	if j.dryRun {
		form = "dry run, nothing was changed: %s as of %s: %s would be added (%s), %d %s there, %s\n"
		were = english.PluralWord(s.There, "is", "are")
	}
	fmt.Fprintf(j.std.out, form, english.Plural(s.Folders, "mailbox", "mailboxes"), j.asOf.Local().Format(timeForm),
		english.Plural(s.Added, "message", ""), humanize.IBytes(uint64(s.Bytes)), s.There, were, english.Plural(s.Problems, "problem", ""))
}

// current says that no moment was asked for.
func (o *options) current() bool { return o.ofNow || o.moment == history.Moment{} }

// newest says that the state was asked for in which the backup is now: what was deleted
// before is not part of it, which may be a surprise.
func (j *job) newest() bool {
	s := &j.selection
	return j.current() && j.life == 0 && s.Deleted == restore.ByObject && s.Since.IsZero() && s.Until.IsZero() && !j.flagsOnly
}

// sayWhatIsGone reports a deletion of more messages at one go than are left and were chosen.
func (j *job) sayWhatIsGone(ctx context.Context, chosen int) error {
	if !j.newest() {
		return nil
	}
	g, err := j.gone(ctx)
	if err != nil {
		return explain(err, j.options)
	}
	if g.Worth() && g.Messages > chosen {
		fmt.Fprintf(j.std.err, "restore: note: %s in what was asked for, but %s\n", left(g.Left), j.bringsBack(g))
	}
	return nil
}

// gone finds what was deleted. The clock of a mail server may be ahead of the store's, by
// which moments go: what it says is believed only if the commit does not say earlier.
func (j *job) gone(ctx context.Context) (*restore.Gone, error) {
	g, err := j.src.Gone(j.selection)
	if err != nil || g.Commit == 0 {
		return g, err
	}
	for c, err := range j.log.Commits(ctx, g.Commit, g.Commit) {
		if err != nil {
			break // merged or damaged: the other clock has to do
		}
		if at := c.Header().Time; at.Before(g.First) {
			g.First = at
		}
	}
	return g, nil
}

// nothingLeft is the error of a restore of all where nothing lives.
func (j *job) nothingLeft(ctx context.Context) error {
	g, err := j.gone(ctx)
	if err != nil {
		return explain(err, j.options)
	}
	if !j.newest() || g.Mailboxes+g.Messages == 0 {
		return fmt.Errorf("the backup of %s has nothing live as of %s: cyr_backup %s log shows what was deleted when, and --at TIME brings what was there then (%w)",
			j.backup, j.asOf.Local().Format(timeForm), j.backup, restore.ErrNothing)
	}
	return fmt.Errorf("the backup of %s has nothing live: %s (%w)", j.backup, j.bringsBack(g), restore.ErrNothing)
}

func left(n int) string {
	if n == 0 {
		return "no message is left"
	}
	return fmt.Sprintf("%s %s left", english.Plural(n, "message", ""), english.PluralWord(n, "is", "are"))
}

// bringsBack says what was deleted, when, and which command brings it.
func (j *job) bringsBack(g *restore.Gone) string {
	what := english.Plural(g.Messages, "message", "")
	switch {
	case g.Mailboxes > 0 && g.Messages > 0:
		what = english.Plural(g.Mailboxes, "mailbox", "mailboxes") + " with " + what
	case g.Mailboxes > 0:
		what = english.Plural(g.Mailboxes, "mailbox", "mailboxes")
	}
	subject := g.Messages
	if g.Mailboxes > 0 {
		subject = g.Mailboxes
	}
	were := english.PluralWord(subject, "was", "were")
	when := "at " + g.First.Local().Format(timeForm)
	if g.Last.After(g.First) {
		when = "between " + g.First.Local().Format(timeForm) + " and " + g.Last.Local().Format(timeForm)
	}
	return fmt.Sprintf("%s %s deleted %s. This brings back what was there before: %s", what, were, when, j.commandAt(g.First.Add(-time.Second)))
}

// commandAt is the command that was given, as of a moment.
func (j *job) commandAt(t time.Time) string {
	words := []string{"restore", "--at", t.Local().Format(time.RFC3339)}
	for _, a := range j.argv {
		words = append(words, quoted(a))
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_-]+$`)

// quoted is a word as a shell takes it.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// trace is what a log should keep of a restore, as pairs.
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

// leftOut says what a destination has no place for; "" = it has one for all.
func leftOut(kind string) string {
	switch kind {
	case "imap":
		return "left out, because IMAP has no way for it: ACLs, annotations, quota, scripts, uids, uniqueids, modseqs"
	case "maildir":
		return "left out, because a Maildir has no place for it: annotations, quota, seen state elsewhere, uids, modseqs"
	case "mbox":
		return "left out, because an mbox has no place for it: subscriptions, annotations, quota, seen state elsewhere, uids, modseqs"
	case "eml", "tar":
		return "left out: annotations of mailboxes and messages, modseqs"
	}
	return ""
}
