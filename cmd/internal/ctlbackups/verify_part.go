package ctlbackups

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"sync"

	"github.com/dustin/go-humanize"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// amount is the value of --read: a share of the backups, or bytes of messages.
type amount struct {
	share portion
	bytes int64
}

func (a *amount) String() string { return "" }
func (a *amount) Type() string   { return "amount" }

// Set implements pflag.Value.
func (a *amount) Set(s string) error {
	if strings.HasSuffix(s, "%") {
		return a.share.Set(s)
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return fmt.Errorf("%q is no amount: write a share of the backups such as 5%%, or bytes of messages such as 10G", s)
	}
	a.bytes = int64(n)
	return nil
}

func (a *amount) given() bool { return a.share > 0 || a.bytes > 0 }

// partial is the part of a run of verify --read in one partition.
type partial struct {
	repository.Config
	amount amount
	cycle  *repository.Cycle

	mu    sync.Mutex
	most  int      // backups that may begin; 0 = any number
	begun []string // and not known to have ended, in order
	ended map[string]bool
	n     int   // backups that have begun
	bytes int64 // of the messages that were read
	last  bool  // the partition has no further backup
}

// openPartial reads where the last part has ended.
func (c *command) openPartial(p repository.Config) (*partial, error) {
	of := &partial{Config: p, amount: c.read, ended: map[string]bool{}}
	var err error
	if of.cycle, err = repository.ReadCycle(c.ctx, p.Store); err != nil {
		return nil, err
	}
	if of.cycle.Begun.IsZero() {
		of.cycle.Begun = c.hostNow()
	}
	if c.read.share > 0 {
		n, err := repository.CountBackups(c.ctx, p.Store)
		if err != nil {
			return nil, err
		}
		of.most = max(1, int(math.Ceil(float64(n)*float64(c.read.share))))
	}
	return of, nil
}

// begin notes that a backup is verified. It returns false if enough of them were.
func (p *partial) begin(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most > 0 && p.n >= p.most || p.most == 0 && p.bytes >= p.amount.bytes {
		return false
	}
	p.n++
	p.begun = append(p.begun, path)
	return true
}

// end notes the result. Backups end in any order, and the cycle continues after the last one before
// which all have ended.
func (p *partial) end(path string, bytes int64, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += bytes
	p.ended[path] = failed
	for len(p.begun) > 0 {
		first := p.begun[0]
		bad, ok := p.ended[first]
		if !ok {
			return
		}
		delete(p.ended, first)
		p.begun = p.begun[1:]
		p.cycle.After = first
		p.cycle.Backups++
		if bad {
			p.cycle.Failed++
		}
	}
}

// partials are the parts of a run, by partition.
type partials struct {
	c    *command
	mu   sync.Mutex
	list map[string]*partial
}

// backups yields those to verify.
func (l *partials) backups() iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		for i, config := range l.c.bucket.Partitions {
			p, err := l.c.openPartial(config)
			if err != nil {
				if !yield(nil, repository.UnaskedError{Partition: config, Err: err}) {
					return
				}
				continue
			}
			l.mu.Lock()
			l.list[config.Name] = p
			l.mu.Unlock()
			if !p.from(l.c, i, yield) {
				return
			}
		}
	}
}

// from yields the backups of the partition until there are enough. It returns false if yield did.
func (p *partial) from(c *command, i int, yield func(*repository.Found, error) bool) bool {
	for f, err := range repository.BrowseAfter(c.ctx, c.bucket.Partitions, i, p.cycle.After) {
		if f == nil {
			return yield(nil, err) // the partition cannot be read
		}
		if !p.begin(f.Path) {
			return true
		}
		if err != nil {
			p.end(f.Path, 0, true)
		}
		if !yield(f, err) {
			return false
		}
	}
	p.mu.Lock()
	p.last = true
	p.mu.Unlock()
	return true
}

// verified notes the result for a backup.
func (l *partials) verified(f *repository.Found, done verify.Result, failed bool) {
	l.mu.Lock()
	p := l.list[f.Partition.Name]
	l.mu.Unlock()
	p.end(f.Path, done.Bytes, failed)
}

// keep records in each partition where the next part begins. At the end of a cycle, every backup has
// been verified: that is recorded as the last verify, and the next part begins with the first backup.
func (l *partials) keep() error {
	failed := false
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.c.ctx), recordTime)
	defer cancel()
	for _, config := range l.c.bucket.Partitions {
		p := l.list[config.Name]
		if p == nil {
			continue
		}
		if err := l.c.writing(ctx, config, func(s objstore.Store) error { return p.keep(ctx, l.c, s) }); err != nil {
			failed = true
			cli.Fprintf(l.c.err, "ctl_backups: partition %s: the next run will read the same backups, because this one could not record its end: %v\n", config.Name, err)
		}
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

func (p *partial) keep(ctx context.Context, c *command, s objstore.Store) error {
	p.cycle.Host = c.host
	if !p.last || len(p.begun) > 0 || c.ctx.Err() != nil {
		return p.cycle.Put(ctx, s)
	}
	whole := repository.Run{Command: repository.RunVerify, Host: c.host, Begun: p.cycle.Begun, Ended: c.hostNow(),
		Result: repository.RunOK, Backups: p.cycle.Backups, Failed: p.cycle.Failed}
	if whole.Failed > 0 {
		whole.Result = repository.RunFailed
	}
	// If the first put fails, the next run finds nothing more to verify, and records the end again.
	if err := whole.Put(ctx, s); err != nil {
		return errors.Join(err, p.cycle.Put(ctx, s))
	}
	return (&repository.Cycle{Host: c.host}).Put(ctx, s)
}
