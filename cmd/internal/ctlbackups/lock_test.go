package ctlbackups

import (
	"bufio"
	"context"
	"io"
	"os"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// The output of a command under the lock appears while it runs: it may be a shell.
func TestLockShowsAtOnce(t *testing.T) {
	w := two(t)
	in, answer := io.Pipe()
	seen, direct, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	open := func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil }
	c := &command{ctx: t.Context(), open: open, now: w.Now, in: in, out: bufio.NewWriter(io.Discard), direct: direct, err: io.Discard}
	ended := make(chan error, 1)
	go func() { ended <- c.run([]string{"lock", "bob", "-x", "echo ready; read answer; test $answer = go"}) }()
	if line, err := bufio.NewReader(seen).ReadString('\n'); err != nil || line != "ready\n" {
		t.Errorf("%q, %v", line, err)
	}
	if _, err := io.WriteString(answer, "go\n"); err != nil {
		t.Fatal(err)
	}
	if err := answer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
