package ctlbackups

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// Commands hold windows of a large mailbox, and a few bytes for each message: with ten times as many
// messages, a process stays below 128 MiB.
func TestMemoryOfCommands(t *testing.T) {
	parts, n := tooltest.Large(t)
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: "+t.TempDir()+"\n", "test")
	if err != nil {
		t.Fatal(err)
	}
	for argv, windows := range map[string]int{"list anne": 1, "stat anne": 1, "verify -q anne": 1, "verify anne": 2} { // verify compares two states
		tooltest.CheckHeap(t, argv, tooltest.MostHeap*int64(windows), n, func() error {
			open := func(context.Context, string, string) (*cli.Bucket, error) { return cli.NewBucket(conf, parts), nil }
			c := &command{ctx: t.Context(), open: open, now: time.Now(), in: strings.NewReader(""), out: io.Discard, err: io.Discard}
			return c.run(strings.Fields(argv))
		})
	}
}
