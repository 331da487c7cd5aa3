package record

import (
	"fmt"
	"strings"
)

// A Goal is a line of the summary: a figure of this run against the wanted one.
type Goal struct {
	Work string
	Want string // for the reader
	Now  string // "" = not measured in this run
	Met  bool
}

// Goals returns the summary. A line that was not measured in this run keeps what the earlier
// text has for it.
func Goals(earlier string, goals []Goal) string {
	var b strings.Builder
	b.WriteString("| work | goal | measured | met |\n|---|---|---|---|\n")
	for _, g := range goals {
		b.WriteString(g.line(earlier) + "\n")
	}
	return b.String()
}

func (g Goal) line(earlier string) string {
	start := fmt.Sprintf("| %s | %s |", g.Work, g.Want)
	if g.Now != "" {
		return fmt.Sprintf("%s %s | %s |", start, g.Now, map[bool]string{true: "yes", false: "no"}[g.Met])
	}
	for line := range strings.Lines(earlier) {
		if strings.HasPrefix(line, start) {
			return strings.TrimRight(line, "\n")
		}
	}
	return start + " not measured | |"
}
