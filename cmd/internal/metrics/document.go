package metrics

import (
	"fmt"
	"io"
	"strings"
)

// Document writes docs/metrics.md.
func Document(w io.Writer, all []Definition) error {
	_, err := io.WriteString(w, beginning)
	group := ""
	for _, d := range all {
		if err == nil && d.Group != group {
			group = d.Group
			_, err = fmt.Fprintf(w, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", group)
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, strings.Join(d.Labels, ", "), d.Help)
		}
	}
	return err
}

const beginning = "# Metrics\n" + `
This page is made from the code: ` + "`make metrics`" + ` writes it, and a test fails if it is old.
[monitoring.md](monitoring.md) shows how to read the metrics, and has alerts and a dashboard.

- The daemon serves the metrics at ` + "`backup_metrics_listen`" + `, or writes them to ` + "`backup_metrics_file`" + `.
- A metric of the type counter begins at 0 when the daemon starts. Use ` + "`rate()`" + ` or ` + "`increase()`" + `.
- ` + "`contact_age_seconds` and `commit_age_seconds`" + ` are distributions of all users at this moment. Use their values, and no ` + "`rate()`" + `.
- No label is made from the name of a user.
- The address also serves the usual metrics of a Go program, ` + "`go_…` and `process_…`" + `. The file does not have them, because node_exporter has metrics with these names.
`
