package ctlbackups

import (
	"bytes"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// tableLines is how many lines are aligned together, so that a table of any length takes little
// memory.
const tableLines = 1000

// table aligns lines of cells that tabs separate. All cells are on the right of their columns.
type table struct {
	w     *tabwriter.Writer
	lines int // since the last flush
}

func newTable(out io.Writer) *table {
	return &table{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)}
}

// Write takes whole lines.
func (t *table) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	if t.lines += bytes.Count(p, []byte("\n")); err == nil && t.lines >= tableLines {
		err = t.flush()
	}
	return n, err
}

func (t *table) flush() error {
	t.lines = 0
	return t.w.Flush()
}

// tabular reports whether list and stat print a table for people, with titles and totals. Other
// programs read lines as those of Cyrus's ctl_backups.
func (c *command) tabular() bool {
	return !c.structured() && (c.human || c.direct != nil && cli.Terminal(c.direct) != nil)
}

// inTable calls fn with an output that aligns its lines, after a line of titles.
func (c *command) inTable(titles []string, fn func() error) error {
	out, t := c.out, newTable(c.out)
	c.out = t
	defer func() { c.out = out }()
	err := c.cells(titles...)
	if err == nil {
		err = fn()
	}
	if flushed := t.flush(); err == nil {
		err = flushed
	}
	return err
}

// cells writes a line of a table. The last cell begins at the left of its column.
func (c *command) cells(cells ...string) error {
	last := len(cells) - 1
	args := make([]any, len(cells))
	for i, cell := range cells {
		args[i] = cell
	}
	_, err := cli.Fprintf(c.out, strings.Repeat("%s\t", last)+"  %s\n", args...)
	return err
}
