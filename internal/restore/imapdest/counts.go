package imapdest

import (
	"fmt"

	"github.com/dustin/go-humanize/english"
)

// counts are the numbers in a line about a folder.
type counts struct {
	added, there, refused, changed, unknown, dated, twins int
}

// printCounts prints the lines about the folder.
func (v *visit) printCounts() {
	form := "%s: %s appended to %s, %d already present, %d refused"
	if v.opt.DryRun {
		form = "%s: %s would be appended to %s, %d already present, %d unreadable"
	}
	v.rep.Say(form, v.f.Name, english.Plural(v.added, "message", ""), v.box.name, v.there, v.refused)
	for _, line := range v.notes() {
		v.rep.Say("%s: %s", v.f.Name, line)
	}
	v.mu.Lock()
	v.odd.changed += v.changed
	v.odd.unknown += v.unknown
	v.odd.dated += v.dated
	v.odd.twins += v.twins
	v.mu.Unlock()
}

// notes describes changes by the server, known and unknown.
func (c *counts) notes() []string {
	var out []string
	for _, o := range []struct {
		n    int
		form string
	}{
		{c.changed, "the server changed %s (line ends, NULs or 8-bit headers)"},
		{c.unknown, "the server changed %s in an unknown way: another run without the journal of this restore would add them again"},
		{c.dated, "the server stored %s with another date"},
		{c.twins, "%s were added although the folder has a message with the same Message-ID and other bytes"},
	} {
		if o.n > 0 {
			out = append(out, fmt.Sprintf(o.form, english.Plural(o.n, "message", "")))
		}
	}
	return out
}
