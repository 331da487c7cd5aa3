package imapdest

import (
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// keywords are the flags that a folder accepts.
type keywords struct {
	has     map[string]bool   // existing flags, in lower case
	open    bool              // accepts new flags
	refused map[string]string // refused flags, with the reason
}

// systemFlags are the flags that every server has.
var systemFlags = []imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft}

func newKeywords(d *imap.SelectData) *keywords {
	k := &keywords{has: map[string]bool{}, refused: map[string]string{}}
	permanent := d.PermanentFlags
	if len(permanent) == 0 { // without the list, all flags are permanent (RFC 9051, 7.1)
		permanent, k.open = d.Flags, true
	}
	for _, f := range permanent {
		if f == imap.FlagWildcard {
			k.open = true
			continue
		}
		k.has[strings.ToLower(string(f))] = true
	}
	if k.open { // then FLAGS are flags that can be created
		for _, f := range slices.Concat(d.Flags, systemFlags) {
			k.has[strings.ToLower(string(f))] = true
		}
	}
	return k
}

// sorted are the flags of a message: flags to send with it, flags to try on the folder, and
// flags that the folder does not accept, each with the reason.
type sorted struct {
	now, ask, lost []string
}

func (k *keywords) sort(flags []string) sorted {
	var s sorted
	for _, f := range flags {
		key := strings.ToLower(f)
		switch {
		case key == `\recent`, key == `\expunged`:
		case k.has[key]:
			s.now = append(s.now, f)
		case k.refused[key] != "":
			s.lost = append(s.lost, f)
		case !isFlag(f):
			k.refuse(f, "IMAP has no such flags")
			s.lost = append(s.lost, f)
		case !k.open:
			k.refuse(f, "the folder accepts no new flags")
			s.lost = append(s.lost, f)
		default:
			s.ask = append(s.ask, f)
		}
	}
	return s
}

func (k *keywords) refuse(flag, why string) { k.refused[strings.ToLower(flag)] = why }

func (k *keywords) took(flag string) { k.has[strings.ToLower(flag)] = true }

// reasons lists lost flags, grouped by reason.
func (k *keywords) reasons(flags []string) string {
	var order []string
	by := map[string][]string{}
	for _, f := range flags {
		why := k.refused[strings.ToLower(f)]
		if by[why] == nil {
			order = append(order, why)
		}
		by[why] = append(by[why], f)
	}
	for i, why := range order {
		order[i] = strings.Join(by[why], ", ") + " (" + why + ")"
	}
	return strings.Join(order, "; ")
}

// isFlag reports whether a word can be an IMAP flag: an atom, perhaps with a backslash.
func isFlag(s string) bool {
	s = strings.TrimPrefix(s, `\`)
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r)
	})
}

func asFlags(words []string) []imap.Flag {
	out := make([]imap.Flag, len(words))
	for i, w := range words {
		out[i] = imap.Flag(w)
	}
	return out
}

// without returns the flags that the server does not show.
func without(flags []string, shown []imap.Flag) []string {
	return slices.DeleteFunc(slices.Clone(flags), func(f string) bool {
		return slices.ContainsFunc(shown, func(s imap.Flag) bool { return strings.EqualFold(string(s), f) })
	})
}
