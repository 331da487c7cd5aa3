// Package manpage makes the manual pages in docs/man, for tests that compare them with
// what is there: what a page says of a program's options and commands is the program's
// own description of them, and what it does not say makes a test fail.
package manpage

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"

	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// Parts are the pieces of Markdown that a source has places for: <!-- NAME --> on a line
// of its own.
type Parts map[string]string

var place = regexp.MustCompile(`(?m)^<!-- (.*) -->$`)

// Render makes a page. A place without a part is an error, and so is a part without one.
func Render(source string, parts Parts) ([]byte, error) {
	var faults []string
	used := map[string]bool{}
	source = place.ReplaceAllStringFunc(source, func(line string) string {
		name := place.FindStringSubmatch(line)[1]
		text, ok := parts[name]
		if !ok {
			faults = append(faults, "there is no part "+name)
		}
		used[name] = true
		return text
	})
	for name := range parts {
		if !used[name] {
			faults = append(faults, "there is no <!-- "+name+" -->")
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(faults, "; "))
	}
	return dashes(md2man.Render([]byte(source))), nil
}

// dashes makes every hyphen of the text a minus: what is copied out of a page has to be
// what can be typed, and some systems show a hyphen as another character.
func dashes(roff []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(roff) {
		if line[0] == '.' || line[0] == '\'' {
			out.Write(line)
			continue
		}
		for i, c := range line {
			if c == '-' && (i == 0 || line[i-1] != '\\') {
				out.WriteByte('\\')
			}
			out.WriteByte(c)
		}
	}
	return out.Bytes()
}

// OfProgram are the parts that a program's page has.
func OfProgram(p *cmdline.Program) Parts {
	parts := Parts{}
	add := func(name, text string) {
		if text != "" {
			parts[name] = text
		}
	}
	add("synopsis", synopsis(p))
	add("commands", commands(p.Verbs))
	add("options", options(p.Groups()))
	add("notes", escape(p.Notes))
	add("exit status", statuses(p.Exit))
	return parts
}

func synopsis(p *cmdline.Program) string {
	var lines []string
	for _, s := range p.Synopsis {
		lines = append(lines, "**"+p.Name+"** "+syntax(s))
	}
	return strings.Join(lines, "  \n") // a line break, and no new paragraph
}

func commands(verbs []cmdline.Verb) string {
	var sb strings.Builder
	for _, v := range verbs {
		define(&sb, strings.TrimSpace("**"+v.Name+"** "+syntax(v.Args)), escape(v.Text)+".")
	}
	return sb.String()
}

func options(groups []cmdline.Group) string {
	var sb strings.Builder
	for _, g := range groups {
		if len(groups) > 1 {
			fmt.Fprintf(&sb, "## %s\n\n", g.Title)
		}
		for _, o := range g.Options {
			define(&sb, label(o), escape(o.Text)+".")
		}
	}
	return sb.String()
}

func label(o cmdline.Option) string {
	s := "**--" + o.Long + "**"
	if o.Short != "" {
		s = "**-" + o.Short + "**, " + s
	}
	switch {
	case o.Value == "":
		return s
	case o.Optional:
		return s + "\\[=*" + o.Value + "*\\]"
	}
	return s + " *" + o.Value + "*"
}

func statuses(exit []cmdline.Status) string {
	var sb strings.Builder
	for _, e := range exit {
		define(&sb, fmt.Sprintf("**%d**", e.Code), escape(e.Text)+".")
	}
	return sb.String()
}

// OfSettings are the parts that the page of imapd.conf has: our own options, those that
// are Cyrus's as well, those that do nothing, and old names.
func OfSettings(all []imapconf.Option) Parts {
	var own, shared, idle, old strings.Builder
	for _, o := range all {
		sb := &shared
		switch {
		case o.ReplacedBy != "":
			define(&old, "**"+escape(o.Name)+"**", "An old name of **"+escape(o.ReplacedBy)+"**.")
			continue
		case o.NoEffect:
			sb = &idle
		case strings.HasPrefix(o.Name, "backup"):
			sb = &own
		}
		name := "**" + escape(o.Name) + "**"
		if o.Family {
			name += "*NAME*"
		}
		define(sb, fmt.Sprintf("%s: *%s*", name, kind(o)), escape(o.Doc+standard(o)))
	}
	return Parts{"own options": own.String(), "shared options": shared.String(), "options without effect": idle.String(), "old names": old.String()}
}

func kind(o imapconf.Option) string {
	if len(o.Words) > 0 {
		return strings.Join(o.Words, "|")
	}
	return o.Type.String()
}

// standard says what the default is, and what is allowed where that is more than the kind.
func standard(o imapconf.Option) string {
	var s string
	switch {
	case o.Default == "" || strings.Contains(o.Doc, "Default: "):
	case o.Type == imapconf.Switch:
		s = " Default: " + map[string]string{"0": "no", "1": "yes"}[o.Default] + "."
	default:
		s = " Default: " + o.Default + "."
	}
	switch o.Type {
	case imapconf.Int, imapconf.Duration, imapconf.Size:
		s += " Value: " + o.Allowed() + "."
	}
	return s
}

// define adds an entry of a definition list.
func define(sb *strings.Builder, term, text string) {
	fmt.Fprintf(sb, "%s\n: %s\n\n", term, text)
}

// syntax shows the words of a synopsis: what is in capitals stands for something else.
func syntax(s string) string {
	return capitals.ReplaceAllString(escape(s), "*$0*")
}

var capitals = regexp.MustCompile(`\b[A-Z]{2,}\b`)

// escape lets text be itself in Markdown.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, "…", "...").Replace(s)
}
