package cmdline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Group is a titled group of options in help texts.
type Group struct {
	Title   string
	Options []Option
}

// Option is an option in help texts.
type Option struct {
	Short    string // without its dash; "" = none
	Long     string
	Value    string // name of the value; "" = no value
	Optional bool   // the value is optional
	Text     string
}

// String returns the option as in a synopsis: -t, --stale[=HOURS].
func (o Option) String() string {
	s := "    --" + o.Long
	if o.Short != "" {
		s = "-" + o.Short + ", --" + o.Long
	}
	switch {
	case o.Value == "":
		return s
	case o.Optional:
		return s + "[=" + o.Value + "]"
	}
	return s + " " + o.Value
}

// Groups returns the program's options.
func (p *Program) Groups() []Group {
	var out []Group
	for _, g := range p.groups {
		shown := Group{Title: g.title}
		g.flags.VisitAll(func(f *pflag.Flag) { shown.Options = append(shown.Options, describe(f)) })
		out = append(out, shown)
	}
	return out
}

func describe(f *pflag.Flag) Option {
	value, text := pflag.UnquoteUsage(f)
	if f.Value.Type() == "count" {
		value = ""
	}
	if !slices.Contains([]string{"", "0", "-1", "false"}, f.DefValue) {
		text += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	return Option{f.Shorthand, f.Name, value, value != "" && f.NoOptDefVal != "", text}
}

// Usage returns the text that follows the error about a wrong command line.
func (p *Program) Usage() string {
	return p.synopsis() + p.Name + " --help prints more.\n"
}

func (p *Program) synopsis() string {
	var sb strings.Builder
	lead := "usage:"
	for _, s := range p.Synopsis {
		fmt.Fprintln(&sb, lead, p.Name, s)
		lead = "      "
	}
	return sb.String()
}

// Help returns the text of --help.
func (p *Program) Help() string {
	var sb strings.Builder
	sb.WriteString(p.synopsis())
	if len(p.Verbs) > 0 {
		sb.WriteString("\nCommands:\n")
	}
	for _, v := range p.Verbs {
		entry(&sb, strings.TrimSpace(v.Name+" "+v.Args), v.Text)
	}
	for _, g := range p.Groups() {
		fmt.Fprintf(&sb, "\n%s:\n", g.Title)
		for _, o := range g.Options {
			entry(&sb, o.String(), o.Text)
		}
	}
	if p.Notes != "" {
		sb.WriteString("\n" + p.Notes)
	}
	if len(p.Exit) > 0 {
		sb.WriteString("\nExit status:\n")
	}
	for _, e := range p.Exit {
		entry(&sb, fmt.Sprint(e.Code), e.Text)
	}
	if len(p.Examples) > 0 {
		sb.WriteString("\nExamples:\n")
	}
	for _, e := range p.Examples {
		sb.WriteString("  " + e + "\n")
	}
	return sb.String()
}

// Texts begin at column indent and end before column width.
const (
	indent = 27
	width  = 80
)

// entry writes a term with its explanation to the right, or below if the term is too long
// for its column.
func entry(sb *strings.Builder, what, text string) {
	line := "  " + what
	if len(line) > indent-2 {
		sb.WriteString(line + "\n")
		line = ""
	}
	empty := true
	for word := range strings.FieldsSeq(text) {
		if !empty && len(line)+1+len(word) >= width {
			sb.WriteString(line + "\n")
			line, empty = "", true
		}
		if empty {
			line += strings.Repeat(" ", indent-len(line)-1)
			empty = false
		}
		line += " " + word
	}
	sb.WriteString(line + "\n")
}
