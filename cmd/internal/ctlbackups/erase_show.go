package ctlbackups

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/attestation"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// nameOf names a backup in output, like label.
func nameOf(n repository.Name) string {
	if n.Kind == repository.KindUser {
		return n.Full
	}
	return n.Path()
}

// showSurvey prints each copy. With packs it also reads which packs have their bodies.
func (c *command) showSurvey(s *erasure.Survey, packs bool) error {
	var named []erasure.PackCount
	if packs {
		var err error
		if named, err = s.CountPacks(c.ctx); err != nil {
			return err
		}
	}
	if c.structured() {
		return c.surveyObjects(s, named)
	}
	for _, x := range s.Copies {
		messages := "damaged, so that its messages cannot be counted"
		if x.Messages >= 0 {
			messages = objects(int64(x.Messages), "message")
		}
		if _, err := cli.Fprintf(c.out, "erase %s: %s: %s, %s; %s\n", nameOf(s.Name), place(x.Found), objects(x.Objects, "object"), binary(x.Bytes), messages); err != nil {
			return err
		}
	}
	for _, n := range named {
		if _, err := cli.Fprintf(c.out, "erase %s: %s: its bodies are in %s; other backups keep the bodies that they need\n", nameOf(s.Name), n.Partition, objects(n.Packs, "pack")); err != nil {
			return err
		}
		for _, b := range n.Unread {
			cli.Fprintf(c.err, "ctl_backups: partition %s: %v: packs that only this object names are not on record\n", n.Partition, b)
		}
	}
	for _, r := range s.Records {
		if _, err := cli.Fprintf(c.out, "erase %s: %s: %s\n", nameOf(s.Name), r.Partition, recordText(r.Erasure)); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) surveyObjects(s *erasure.Survey, named []erasure.PackCount) error {
	type copied struct {
		Path     string `json:"fname"`
		Objects  int64  `json:"objects"`
		Bytes    int64  `json:"bytes"`
		Messages int    `json:"messages"` // -1 = unknown
	}
	out := struct {
		Command string   `json:"command"`
		Name    string   `json:"name"`
		Copies  []copied `json:"copies"`
		Packs   int64    `json:"packs"`
	}{"erase", nameOf(s.Name), []copied{}, 0}
	for _, x := range s.Copies {
		out.Copies = append(out.Copies, copied{place(x.Found), x.Objects, x.Bytes, x.Messages})
	}
	for _, n := range named {
		out.Packs += n.Packs
	}
	return c.object(out)
}

// erasedPart prints what Erase has done in a partition.
func (c *command) erasedPart(d erasure.Done) error {
	for _, b := range d.Unread {
		cli.Fprintf(c.err, "ctl_backups: partition %s: %v: packs that only this object named are removed as unused ones, in about eight days\n", d.Partition, b)
	}
	if d.Unsupported {
		cli.Fprintf(c.err, "ctl_backups: partition %s: the store cannot list former versions: remove them by its own means, if it keeps any\n", d.Partition)
	}
	if c.structured() {
		return c.eraseObject(d.Record)
	}
	_, err := cli.Fprintf(c.out, "erase %s: %s: %s\n", nameOf(d.Of()), d.Partition, recordText(d.Erasure))
	return err
}

// eraseObject prints a record as JSON.
func (c *command) eraseObject(r erasure.Record) error {
	return c.object(struct {
		Command   string `json:"command"`
		Partition string `json:"partition"`
		*repository.Erasure
	}{"erase", r.Partition, r.Erasure})
}

// recordText describes an erasure in words.
func recordText(e *repository.Erasure) string {
	text := fmt.Sprintf("removed %s in %s", objects(e.Objects, "object"), objects(int64(len(e.Copies)), "folder"))
	if e.InPart() {
		text = fmt.Sprintf("removed %s, %s", partText(e), objects(e.Objects, "object"))
	}
	switch e.State {
	case repository.ErasurePending:
		_, at := erasure.Due(e, time.Time{})
		if !e.Cancelled.IsZero() {
			text = "the erasure of " + partText(e) + " has ended, and had removed nothing"
		}
		text += fmt.Sprintf("; bodies in %s are left: compact -A removes them after %s", objects(e.Packs, "pack"), timespec.Text(at))
	case repository.ErasureDone:
		text += fmt.Sprintf(", and the bodies in %s, until %s", objects(e.Packs, "pack"), timespec.Text(e.Done))
		switch {
		case !e.Cancelled.IsZero():
			text = "the erasure of " + partText(e) + " was cancelled on " + timespec.Text(e.Cancelled) + ": some of it may be left"
		case len(e.Copies) == 0 && !e.InPart():
			text = "another erasure has removed everything"
		}
	default:
		text = "the erasure was interrupted: run erase again"
	}
	for _, m := range e.Messages {
		if m.Whole {
			text += fmt.Sprintf("; message %s can still be restored at moments before that", m.GUID)
		}
	}
	if e.Shared > 0 {
		text += fmt.Sprintf("; %s of it stayed, because other messages had them, too", objects(e.Shared, "part"))
	}
	if kept := retainedText(e); kept != "" {
		text += "; " + kept
	}
	return text
}

// partText names the part of a backup that is erased.
func partText(e *repository.Erasure) string {
	if !e.OfMessages() {
		return "the history before " + timespec.Text(e.Before)
	}
	if len(e.Messages) == 1 {
		return "message " + e.Messages[0].GUID.String()
	}
	return objects(int64(len(e.Messages)), "message")
}

// retainedText returns what keeps versions in the bucket; "" = nothing.
func retainedText(e *repository.Erasure) string {
	var why []string
	if e.LegalHold {
		why = append(why, "the bucket has a legal hold on versions: whoever placed it must release it")
	}
	if !e.Retained.IsZero() {
		why = append(why, "the bucket retains versions until "+timespec.Text(e.Retained))
	}
	return strings.Join(why, "; ")
}

// eraseList prints the records of all erasures.
func (c *command) eraseList() error {
	failed := false
	for _, p := range c.bucket.Partitions {
		for e, err := range repository.Erasures(c.ctx, p, time.Time{}) {
			if err != nil {
				cli.Fprintf(c.err, "ctl_backups: %v\n", err)
				failed = true
				continue
			}
			if c.structured() {
				err = c.eraseObject(erasure.Record{Partition: p.Name, Erasure: e})
			} else {
				_, err = cli.Fprintf(c.out, "%s\t%s\t%s:%s\tby %s: %s\t%s\n", timespec.Text(e.Since), e.State, p.Name, nameOf(e.Of()), e.By, e.Reason, recordText(e))
			}
			if err != nil {
				return err
			}
		}
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

// openErasures prints the erasures that are not done, on standard error: other lines are about
// backups.
func (c *command) openErasures() error {
	if c.mode != modeAll || c.stale >= 0 || c.structured() {
		return nil
	}
	var bad error
	for _, p := range c.bucket.Partitions {
		open, err := erasure.Open(c.ctx, p)
		if repository.IsStoreError(err) {
			continue // the list of backups has reported it
		}
		if err != nil {
			cli.Fprintf(c.err, "ctl_backups: partition %s: %v\n", p.Name, err)
			bad = cli.ErrReported
		}
		for _, e := range open {
			cli.Fprintf(c.err, "ctl_backups: erasure of %s in partition %s: %s\n", nameOf(e.Of()), p.Name, recordText(e))
		}
	}
	return bad
}

// stayNamed notes that signed lists keep the name of an erased backup. The erasure itself is over, so lists that cannot be
// looked for are no error.
func (c *command) stayNamed(n repository.Name, done []erasure.Done) error {
	if c.structured() {
		return nil
	}
	for _, p := range c.bucket.Partitions {
		of := slices.ContainsFunc(done, func(d erasure.Done) bool { return d.Partition == p.Name })
		if has, err := attestation.HasLists(c.ctx, p.Store); !of || err != nil || !has {
			continue
		}
		if _, err := cli.Fprintf(c.out, "  the signed lists of partition %s keep the name %s, and the numbers and times of commits (docs/administration.md, \"Signed lists\")\n", p.Name, n.Full); err != nil {
			return err
		}
	}
	return nil
}
