// Package manpage generates the manual pages in docs/man. Options and commands come from the
// program's own description; tests fail if a page is out of date.
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

// Parts are generated pieces of Markdown. A line <!-- NAME --> in a source is the placeholder of
// the part NAME.
type Parts map[string]string

var place = regexp.MustCompile(`(?m)^<!-- (.*) -->$`)

// Render makes a page. A placeholder without a part, and an unused part, are errors.
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

// dashes turns every hyphen of the text into a minus, because some systems show a hyphen as
// another character, and people copy commands from a page.
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

// OfProgram returns the parts for the page of a program.
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

// OfSettings returns the parts for the page of imapd.conf: own options, options shared with
// Cyrus, options without effect, and old names.
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

// standard describes the default, and the allowed values if the type does not imply them.
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

// syntax formats a synopsis. Words in capitals are placeholders.
func syntax(s string) string {
	return capitals.ReplaceAllString(escape(s), "*$0*")
}

var capitals = regexp.MustCompile(`\b[A-Z]{2,}\b`)

// escape escapes Markdown in text.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, "…", "...").Replace(s)
}
