package cyrbackup

import (
	"errors"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// copied notes that a copy has not put all of the log: then commits that no object has were not lost.
func (l *logWalk) copied(unfinished error) {
	if l.unfinished = unfinished; unfinished != nil {
		l.lost = slices.DeleteFunc(l.lost, func(g history.Gap) bool { return errors.Is(g.Err, history.ErrAbsent) })
	}
}

// reportLost reports unreadable commits. It returns an error if no bridge in the log records some of
// them: then the repair is not complete.
func (l *logWalk) reportLost() error {
	c := l.c
	open := l.unbridged()
	var known []string
	if l.unfinished != nil {
		cli.Fprintf(c.err, "cyr_backup: %v\n", l.unfinished)
	}
	for _, g := range l.lost {
		if !slices.Contains(open, g.String()) {
			known = append(known, g.String())
		}
	}
	if len(known) > 0 {
		cli.Fprintf(c.err, "cyr_backup: the log of %s has lost %s, and was repaired: it continues without them\n", c.found.Path, strings.Join(known, ", "))
	}
	if len(open) == 0 {
		if l.unfinished != nil {
			return cli.ErrReported
		}
		return nil
	}
	cli.Fprintf(c.err, "cyr_backup: the log of %s has lost %s: ctl_backups verify %s reports the damage\n", c.found.Path, strings.Join(open, ", "), c.found.Name().Full)
	return cli.ErrReported
}

// unbridged returns the unreadable commits that no bridge so far records.
func (l *logWalk) unbridged() (open []string) {
	for _, g := range l.lost {
		known := func(r history.LostRange) bool { return r.From <= g.From && g.To <= r.To }
		if !slices.ContainsFunc(l.bridged, known) {
			open = append(open, g.String())
		}
	}
	return open
}

// readBridges reads which losses a commit records. It skips unreadable events: Readable names them next.
func (l *logWalk) readBridges(r *history.CommitReader) error {
	for e, err := range r.Events() {
		if err != nil && !history.IsUnreadable(err) {
			return err
		}
		if b, ok := e.(*history.BridgedEvent); ok {
			l.bridged = append(l.bridged, b.Lost...)
		}
	}
	return nil
}

// lostLine is the line about unreadable commits.
type lostLine struct {
	Number uint64 `json:"number"`
	To     uint64 `json:"to,omitempty"` // of more than one
	Lost   string `json:"lost"`         // why
}

// gap prints a line about unreadable commits.
func (l *logWalk) gap(g *history.GapError) error {
	l.lost = append(l.lost, g.Gap)
	if l.c.json {
		line := lostLine{Number: g.From, Lost: g.Range().Reason}
		if g.To > g.From {
			line.To = g.To
		}
		w := lines{w: l.c.out}
		w.line(line)
		return w.err
	}
	_, err := cli.Fprintf(l.c.out, "%s\n", g.Gap)
	return err
}
