package ctlbackups

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/visible"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// progress shows on a terminal how far a command for many backups is. The zero value shows
// nothing.
type progress struct {
	bar  *progressbar.ProgressBar
	done int64
}

// newProgress returns the progress of a command, and lets messages erase it first.
func newProgress(c *command) *progress {
	p := new(progress)
	if !c.many() || c.structured() || c.verbose > 0 || cli.Terminal(c.err) == nil {
		return p
	}
	p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(cli.Raw(c.err)), progressbar.OptionThrottle(200*time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetDescription("compact"))
	c.out, c.err = erasing{c.out, p}, erasing{c.err, p}
	return p
}

// at shows the next backup.
func (p *progress) at(f *repository.Found) {
	if p.done++; p.bar != nil {
		p.bar.Describe(fmt.Sprintf("%s, now %s", objects(p.done, "backup"), visible.Text(label(f))))
		_ = p.bar.Add(1) // errors of the bar do not matter
	}
}

// step shows another part of the work.
func (p *progress) step(text string) {
	if p.bar != nil {
		p.bar.Describe(visible.Text(text))
		_ = p.bar.Add(0)
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}

// erasing is an output that erases the bar first.
type erasing struct {
	io.Writer
	p *progress
}

func (w erasing) Write(b []byte) (int, error) {
	if w.p.bar != nil {
		_ = w.p.bar.Clear()
	}
	return w.Writer.Write(b)
}

// Unwrap returns the output below.
func (w erasing) Unwrap() io.Writer { return w.Writer }
