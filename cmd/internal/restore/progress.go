package restore

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// progress shows the progress: a bar on a terminal, JSON lines for programs, or nothing. Other
// output goes through it, so that it does not mix with the bar.
type progress struct {
	mu     sync.Mutex
	bar    *progressbar.ProgressBar
	json   *json.Encoder
	next   time.Time // for the next JSON line
	done   int
	total  int
	bytes  int64
	ofSize int64
	begun  time.Time
}

func newProgress(o *options, w io.Writer) *progress {
	p := &progress{begun: time.Now()}
	switch {
	case o.progress == "json":
		p.json = json.NewEncoder(w)
	case o.progress == "bar", o.progress == "auto" && !o.dryRun && cli.Terminal(w) != nil:
		p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(cli.Raw(w)), progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true), progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(200*time.Millisecond),
			progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish(), progressbar.OptionSetDescription("restore"))
	}
	return p
}

// Total implements restore.Progress.
func (p *progress) Total(messages int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total, p.ofSize = messages, bytes
	if p.bar != nil {
		p.bar.ChangeMax64(bytes)
	}
}

// Add implements restore.Progress.
func (p *progress) Add(messages int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += messages
	p.bytes += bytes
	if p.bar != nil {
		p.bar.Describe(fmt.Sprintf("%s of %s messages", humanize.Comma(int64(p.done)), humanize.Comma(int64(p.total))))
		_ = p.bar.Set64(min(p.bytes, p.ofSize)) // errors of the bar do not matter
	}
	if p.json != nil && !time.Now().Before(p.next) {
		p.next = time.Now().Add(time.Second)
		p.encode("restoring")
	}
}

func (p *progress) encode(state string) {
	_ = p.json.Encode(map[string]any{"state": state, "messages": p.done, "of_messages": p.total,
		"bytes": p.bytes, "of_bytes": p.ofSize, "seconds": time.Since(p.begun).Round(time.Millisecond).Seconds()})
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
	if p.json != nil {
		p.encode("ended")
	}
}

// line writes a line besides the bar.
func (p *progress) line(w io.Writer, s string) { p.print(w, s+"\n") }

// print writes whole lines besides the bar.
func (p *progress) print(w io.Writer, s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprint(w, s)
}
