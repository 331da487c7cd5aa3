package imapdest

import (
	"fmt"

	"github.com/dustin/go-humanize/english"
)

// counts are what a line about a folder says.
type counts struct {
	added, there, refused, changed, unknown, dated, twins int
}

// say writes the lines about the folder.
func (v *visit) say() {
	form := "%s: %s appended to %s, %d were there, %d refused"
	if v.opt.DryRun {
		form = "%s: %s would be appended to %s, %d are there, %d cannot be read"
	}
	v.rep.Say(form, v.f.Name, english.Plural(v.added, "message", ""), v.box.name, v.there, v.refused)
	for _, line := range v.oddities() {
		v.rep.Say("%s: %s", v.f.Name, line)
	}
	v.mu.Lock()
	v.odd.changed += v.changed
	v.odd.unknown += v.unknown
	v.odd.dated += v.dated
	v.odd.twins += v.twins
	v.mu.Unlock()
}

// oddities says what is not as it was, and what is not known.
func (c *counts) oddities() []string {
	var out []string
	for _, o := range []struct {
		n    int
		form string
	}{
		{c.changed, "the server keeps %s in a form of its own (line ends, NULs or 8-bit headers)"},
		{c.unknown, "the server changes %s in a way that is not known: without the journal of this restore another one would bring them again"},
		{c.dated, "the server gave %s another date"},
		{c.twins, "%s came although the folder has a message with the same Message-ID and other bytes"},
	} {
		if o.n > 0 {
			out = append(out, fmt.Sprintf(o.form, english.Plural(o.n, "message", "")))
		}
	}
	return out
}
