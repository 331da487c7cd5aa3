package restore

import (
	"regexp"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

// kind is what an object on the command line is.
type kind int

const (
	isName kind = iota
	isUniqueID
	isGUID
)

var (
	legacyUniqueID = regexp.MustCompile(`^[0-9a-z]{24}$`)
	uuid           = regexp.MustCompile(`^[0-9a-z-]{36}$`)
	guid           = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)
)

// recognise tells what a word is, in the order of Cyrus's restore (backup/restore.c).
func recognise(s string) kind {
	switch {
	case legacyUniqueID.MatchString(s), uuid.MatchString(s):
		return isUniqueID
	case guid.MatchString(s):
		return isGUID
	}
	return isName
}

// Target is the name that a mailbox of the backup gets at the destination.
func (o *Options) Target(name string) string {
	if o.Into != "" {
		return o.Into
	}
	if !o.KeepDeletedPrefix {
		name, _ = cyrus.Undeleted(name, o.DeletedPrefix)
	}
	return o.moved(name)
}

// moved applies the move of the lowest mailbox that a name is, or is below.
func (o *Options) moved(name string) string {
	var best Move
	for _, m := range o.Moves {
		if m.fits(name) && len(m.Old) > len(best.Old) {
			best = m
		}
	}
	return best.New + strings.TrimPrefix(name, best.Old)
}

func (m *Move) fits(name string) bool { return name == m.Old || isBelow(name, m.Old) }

// own are the options for a mailbox's own name, wherever its messages go.
func (o *Options) own() *Options {
	own := *o
	own.Into, own.Moves = "", nil
	return &own
}

// example is a name as it is written on the command line.
func (o *Options) example() string { return o.AdminForm.External("user.anne.Sent") }

// isBelow says that name is a child of parent, at any depth.
func isBelow(name, parent string) bool { return strings.HasPrefix(name, parent+".") }
