package restore

import (
	"regexp"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

// kind is the type of an object on the command line.
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

// recognise classifies a word, in the order of Cyrus's restore (backup/restore.c).
func recognise(s string) kind {
	switch {
	case legacyUniqueID.MatchString(s), uuid.MatchString(s):
		return isUniqueID
	case guid.MatchString(s):
		return isGUID
	}
	return isName
}

// Target returns the name of a mailbox at the destination.
func (o *Options) Target(name string) string {
	if o.Into != "" {
		return o.Into
	}
	if !o.KeepDeletedPrefix {
		name, _ = cyrus.Undeleted(name, o.DeletedPrefix)
	}
	return o.moved(name)
}

// moved applies the most specific move whose mailbox is name or a parent of it.
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

// own returns options that map a mailbox to its own name, ignoring Into and Moves.
func (o *Options) own() *Options {
	own := *o
	own.Into, own.Moves = "", nil
	return &own
}

// example returns a mailbox name in the form of the command line.
func (o *Options) example() string { return o.AdminForm.External("user.anne.Sent") }

// isBelow reports whether name is a child of parent at any depth.
func isBelow(name, parent string) bool { return strings.HasPrefix(name, parent+".") }
