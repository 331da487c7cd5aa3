package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize/english"
)

// Print writes the findings as a table for people, the fix below each, and a line with the numbers.
func Print(w io.Writer, all []Finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "LEVEL\tCHECK\tWHERE\tFINDING\n") // the errors of a tabwriter come from Flush
	count := map[Level]int{}
	for _, f := range all {
		count[f.Level]++
		where := f.Where
		if where == "" {
			where = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Level, f.Check, plain(where), plain(f.Text))
		if f.Fix != "" && f.Level != OK {
			fmt.Fprintf(t, "\t\t\t→ %s\n", plain(f.Fix))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s, %s, %d ok\n", english.Plural(count[Error], "error", ""), english.Plural(count[Warning], "warning", ""), count[OK])
	return err
}

// plain keeps text in its cell.
func plain(s string) string { return strings.NewReplacer("\t", " ", "\n", "; ").Replace(s) }

// PrintJSON writes the findings as one object, or one object for each, in a line.
func PrintJSON(w io.Writer, all []Finding, lines bool) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if lines {
		for _, f := range all {
			if err := enc.Encode(f); err != nil {
				return err
			}
		}
		return nil
	}
	count := map[Level]int{}
	for _, f := range all {
		count[f.Level]++
	}
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Level    Level     `json:"level"`
		Errors   int       `json:"errors"`
		Warnings int       `json:"warnings"`
		Findings []Finding `json:"findings"`
	}{Worst(all), count[Error], count[Warning], all})
}
