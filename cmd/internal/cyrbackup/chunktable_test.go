package cyrbackup

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// For people, the chunks are a table: aligned, with units. Programs read the lines of Cyrus, with tabs.
func TestChunkTable(t *testing.T) {
	w := story(t)
	out, err := tool(t, w, "anne", "-h", "list", "chunks")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if err != nil || len(lines) < 4 || strings.Contains(out, "\t") || !regexp.MustCompile(`^ *chunk +offset +events +stored +time$`).MatchString(lines[0]) {
		t.Fatalf("%v\n%s", err, out)
	}
	at := strings.Index(lines[0], "time")
	row := regexp.MustCompile(`^ +\d+ +[\d.]+ K?i?B +[\d.]+ K?i?B +[\d.]+ K?i?B +2026-11-20 \S+ \+0000$`)
	for _, line := range lines[1:] {
		if !row.MatchString(line) || strings.Index(line, "2026-") != at {
			t.Errorf("%q", line)
		}
	}
	if out, err = tool(t, w, "anne", "list", "chunks"); err != nil || !strings.HasPrefix(out, "     id offset\tlength\tratio%\tstart time                 end time\n      1 0\t") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestShowChunk(t *testing.T) {
	w := story(t)
	out, err := tool(t, w, "anne", "-h", "show", "chunks", "1")
	if err != nil || !regexp.MustCompile(`(?s)^chunk:  1\ntime:   2026-11-20 \S+ \S+\nby:     \S.*\n        mailbox user.anne`).MatchString(out) || strings.Contains(out, "\t") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = tool(t, w, "anne", "show", "chunks", "1"); err != nil || !strings.HasPrefix(out, "chunk:\t1\ntime:\t2026-11-20 ") || !strings.Contains(out, "\n\tmailbox user.anne") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Each list follows its heading, also if the headings have their own stream.
func TestHeadingsOfListAll(t *testing.T) {
	w := story(t)
	open := func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil }
	for _, test := range []struct{ option, chunks string }{{"-h", "offset   events"}, {"-v", "id offset\t"}} {
		var both bytes.Buffer
		out := cli.NewBuffered(&both)
		if err := run(t.Context(), open, []string{"anne", test.option, "list", "all"}, out, &both); err != nil {
			t.Fatal(err)
		}
		if err := out.Flush(); err != nil {
			t.Fatal(err)
		}
		rest := both.String()
		for _, want := range []string{"listing chunks:\n", test.chunks, "listing mailboxes:\n", "uniqueid", "listing messages:\n"} {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Fatalf("%s: no %q after what precedes it in\n%s", test.option, want, both.String())
			}
			rest = after
		}
	}
}
