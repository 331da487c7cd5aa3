package cyrbackup

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// tableLines is how many chunks are aligned together, so that a table of any length takes little memory.
const tableLines = 1000

// tabular reports whether the output is for people. Other programs read the lines of Cyrus's cyr_backup,
// with tabs.
func (c *command) tabular() bool { return c.human || cli.Terminal(c.out) != nil }

// chunkTable is the list of chunks for people: with units, and aligned.
type chunkTable struct {
	w     *tabwriter.Writer
	lines int // since the last flush
}

func newChunkTable(out io.Writer) *chunkTable {
	t := &chunkTable{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)}
	fmt.Fprintf(t.w, "chunk\toffset\tevents\tstored\t  time\n")
	return t
}

// add adds a chunk. The object is compressed, and the events are not. A small object has more bytes than its
// events, because it also has a head and an end.
func (t *chunkTable) add(k chunk) error {
	offset, events, stored := "-", "-", "-"
	if !k.Kept {
		offset, events, stored = bytesText(k.Offset), bytesText(k.Length), bytesText(k.stored)
	}
	if _, err := fmt.Fprintf(t.w, "%d\t%s\t%s\t%s\t  %s\n", k.ID, offset, events, stored, k.Start); err != nil {
		return err
	}
	if t.lines++; t.lines < tableLines {
		return nil
	}
	t.lines = 0
	return t.w.Flush()
}

func bytesText(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// field prints a line about a chunk: a label, or "" if it has that of the line before, and a text.
func (c *command) field(label, text string) {
	if c.tabular() {
		c.printf("%-8s%s\n", label, text)
		return
	}
	c.printf("%s\t%s\n", label, text)
}
