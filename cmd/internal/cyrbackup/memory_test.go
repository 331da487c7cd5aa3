package cyrbackup

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// Commands hold windows of a large mailbox, and a few bytes for each message: with ten times as many
// messages, a process stays below 128 MiB (json bodies: 150).
func TestMemoryOfCommands(t *testing.T) {
	parts, n := tooltest.Large(t)
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: "+t.TempDir()+"\nunixhierarchysep: yes\n", "test")
	if err != nil {
		t.Fatal(err)
	}
	open := func(context.Context, string, string) (*cli.Bucket, error) { return cli.NewBucket(conf, parts), nil }
	for _, argv := range []string{"list mailboxes", "list messages", "list chunks", "show mailboxes user/anne", "show chunks 1", "json mailboxes",
		"json messages", "json state", "json bodies", "find before:2001-01-01", "log", "diff --from 2020-01-01"} {
		most := int64(tooltest.MostHeap)
		if argv == "json bodies" {
			most += 24 << 20 // frames and messages that are read ahead
		}
		tooltest.CheckHeap(t, argv, most, n, func() error {
			return run(t.Context(), open, append([]string{"anne"}, strings.Fields(argv)...), io.Discard, io.Discard)
		})
	}
}
