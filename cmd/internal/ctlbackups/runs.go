package ctlbackups

import (
	"context"
	"errors"
	"iter"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/drill"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// recordTime limits the record of a run that was interrupted.
const recordTime = 5 * time.Second

// runRecord counts what a run over all backups has done in each partition, for status.
type runRecord struct {
	c       *command
	command string
	begun   time.Time
	server  string // that a drill restores into

	mu     sync.Mutex
	parts  map[string]*repository.Run
	unable map[string]bool // partitions of which a drill could not restore something, because of the server
}

func (c *command) beginRun(command string) *runRecord {
	return &runRecord{c: c, command: command, begun: c.hostNow(), parts: map[string]*repository.Run{}, unable: map[string]bool{}}
}

// add counts a backup.
func (r *runRecord) add(partition string, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.part(partition)
	p.Backups++
	if failed {
		p.Failed++
	}
}

// counting yields backups, and counts backups that cannot be read or even be listed.
func (r *runRecord) counting(backups iter.Seq2[*repository.Found, error]) iter.Seq2[*repository.Found, error] {
	return func(yield func(*repository.Found, error) bool) {
		for f, err := range backups {
			of := repository.UnaskedError{}
			switch {
			case errors.As(err, &of):
				r.blocked(of.Partition.Name, of.Err.Error())
			case err != nil && f != nil:
				r.add(f.Partition.Name, true)
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// restored counts what a drill has restored.
func (r *runRecord) restored(partition string, out drill.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.part(partition)
	p.Messages += int64(out.Messages)
	p.Bytes += out.Bytes
	p.Seconds += out.Took.Seconds()
}

// notRun records in all partitions that a drill could not begin or continue, because of the server or its
// options.
func (r *runRecord) notRun(err error) {
	for _, p := range r.c.bucket.Partitions {
		r.fault(p.Name, err)
	}
}

// fault records a fault of the server of a drill.
func (r *runRecord) fault(partition string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part(partition).Error = err.Error()
	r.unable[partition] = true
}

// part returns the run in a partition. The caller holds mu.
func (r *runRecord) part(name string) *repository.Run {
	p := r.parts[name]
	if p == nil {
		p = new(repository.Run)
		r.parts[name] = p
	}
	return p
}

// blocked counts a failure of the work on a partition as a whole.
func (r *runRecord) blocked(partition, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part(partition).Error = why
}

// end puts the record into each partition, if the run was over all backups. A bucket that cannot be
// written is no error of the run.
func (r *runRecord) end(late bool, failure error) {
	c := r.c
	if c.mode != modeAll || c.dryRun {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), recordTime)
	defer cancel()
	unread := map[string]error{}
	for _, err := range c.bucket.LeftOut() {
		if of := (repository.UnaskedError{}); errors.As(err, &of) {
			unread[of.Partition.Name] = of.Err
		}
	}
	for _, p := range c.bucket.Partitions {
		if unread[p.Name] != nil {
			continue
		}
		out := r.part(p.Name)
		if r.command == repository.RunDrill && out.Backups == 0 && out.Error == "" {
			continue // no backup of it was drawn
		}
		out.Command, out.Host, out.Server, out.Begun, out.Ended = r.command, c.host, r.server, r.begun, c.hostNow()
		if failure != nil && !errors.Is(failure, cli.ErrReported) && !r.unable[p.Name] {
			out.Error = failure.Error()
		}
		out.Result = r.result(p.Name, out, late, failure)
		if r.command == repository.RunDrill && out.Result == repository.RunIncomplete && !r.unable[p.Name] {
			out.Error = "" // of the interruption; an error is about the server
		}
		out, err := r.beside(ctx, p.Store, out)
		if err == nil && out.Backups == 0 {
			err = isRepository(ctx, p.Store)
		}
		if err == nil {
			err = c.writing(ctx, p, func(s objstore.Store) error { return out.Put(ctx, s) })
		}
		if err != nil && c.verbose > 0 {
			cli.Fprintf(c.err, "ctl_backups: partition %s: status will not show this run: %v\n", p.Name, err)
		}
	}
}

func (r *runRecord) result(partition string, out *repository.Run, late bool, failure error) string {
	switch {
	case r.command == repository.RunDrill && out.Failed > 0:
		return repository.RunFailed // also if it did not come to the end
	case late, r.unable[partition], r.c.ctx.Err() != nil, r.c.stop && failure != nil:
		return repository.RunIncomplete
	case out.Failed > 0, out.Error != "":
		return repository.RunFailed
	}
	return repository.RunOK
}

// isRepository returns an error if a partition is empty. A record there would be all that a command which
// reads leaves, and what root makes in a directory keeps backupd out.
func isRepository(ctx context.Context, s objstore.Store) error {
	_, _, err := repository.ReadSmall(ctx, s, repository.Key)
	if errors.Is(err, objstore.ErrNotExist) {
		return errors.New("no backup was made there yet")
	}
	return err
}

// later begins the text about a later drill in the record of a failed one.
const later = "a later drill, at "

// beside returns what to record of a run. A drill that did not come to its end, and has found no damage,
// does not replace a failed one: nobody has mended anything.
func (r *runRecord) beside(ctx context.Context, s objstore.Store, out *repository.Run) (*repository.Run, error) {
	if r.command != repository.RunDrill || out.Result != repository.RunIncomplete {
		return out, nil
	}
	last, err := repository.LastRun(ctx, s, r.command)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return out, nil
	case repository.IsStoreError(err):
		return nil, err
	case err != nil || last.Result != repository.RunFailed:
		return out, nil
	}
	own, _, _ := strings.Cut(last.Error, later)
	if own != "" && !strings.HasSuffix(own, "; ") {
		own += "; "
	}
	last.Error = own + later + timespec.Text(out.Ended) + ", was not complete"
	if out.Error != "" {
		last.Error += ": " + out.Error
	}
	return last, nil
}

// writing calls fn with a store that may write. A command that reads has opened a directory only for
// reading.
func (c *command) writing(ctx context.Context, p repository.Config, fn func(objstore.Store) error) error {
	dir := directoryOf(p)
	if dir == "" || c.open != nil {
		return fn(p.Store)
	}
	if !mayRecord(dir) {
		return errors.New("root would leave files that other users cannot replace")
	}
	l, err := objstore.ParseLocation(p.Location)
	if err != nil {
		return err
	}
	out, closer, err := stores.OpenOne(ctx, p.Name, l, stores.Options{})
	if err != nil {
		return err
	}
	return errors.Join(fn(out.Store), closer.Close())
}

// mayRecord reports whether this user may leave an object in the directory of a partition.
func mayRecord(dir string) bool {
	if os.Geteuid() != 0 {
		return true
	}
	info, err := os.Stat(dir)
	return err == nil && ownerOf(info) == 0
}

// directoryOf returns the directory of a partition; "" = it is a bucket.
func directoryOf(p repository.Config) string {
	l, err := objstore.ParseLocation(p.Location)
	if err != nil || l.Scheme != objstore.Dir || !strings.HasPrefix(l.Path, "/") {
		return ""
	}
	return l.Path
}
