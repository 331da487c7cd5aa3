package ctlbackups

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// statusPartition is the state of a partition.
type statusPartition struct {
	Name     string `json:"name"`
	Location string `json:"location"`
	// State is ok, empty (no backup was made there yet) or unreachable.
	State   string    `json:"state"`
	Error   string    `json:"error,omitempty"`
	Created time.Time `json:"created,omitzero"`
	// Written is when something was committed last; zero = never, or not known here.
	Written time.Time `json:"written,omitzero"`
	Offset  float64   `json:"clock_offset"` // seconds that the store's clock is ahead of this host's
	// Backups are as the index of this host knows; absent = unknown. Counted is when they were counted in
	// the bucket; zero = never: there may be more.
	Backups *int      `json:"backups,omitempty"`
	Counted time.Time `json:"counted,omitzero"`
	Space   *space    `json:"space,omitempty"` // only of a directory
	// Condemned and Reclaimable are bytes in packs, as of the last compact -A.
	Condemned   int64                      `json:"condemned"`
	Reclaimable int64                      `json:"reclaimable"`
	Collected   time.Time                  `json:"collected,omitzero"`
	Runs        map[string]*repository.Run `json:"runs,omitempty"`
	Cost        *statusCost                `json:"cost,omitempty"`

	packs    int64 // bytes, as of Collected
	own      int64 // bytes of logs and checkpoints that the index knows
	unsized  int   // backups whose own bytes it does not know
	known    bool  // this host has seen a repository there
	contacts []*repository.Contact
	unread   error // of a contact or a run
}

// space is that of a file system.
type space struct {
	Free  int64 `json:"free"`
	Total int64 `json:"total"`
}

// The states of a partition.
const (
	partitionOK          = "ok"
	partitionEmpty       = "empty"
	partitionUnreachable = "unreachable"
)

// checkPartitions begins to check partitions at the same time. The returned function waits for the
// results. A partition that hangs is abandoned.
func (c *command) checkPartitions(ctx context.Context, chosen []repository.Config) func() []statusPartition {
	ctx, cancel := context.WithTimeout(ctx, statusPart)
	results := make([]chan statusPartition, len(chosen))
	for i, p := range chosen {
		results[i] = make(chan statusPartition, 1)
		go func() { results[i] <- checkPartition(ctx, p, c.hostNow) }()
	}
	return func() []statusPartition {
		defer cancel()
		out := make([]statusPartition, len(chosen))
		for i, p := range chosen {
			select {
			case out[i] = <-results[i]:
				continue
			default:
			}
			select {
			case out[i] = <-results[i]:
			case <-ctx.Done():
				out[i] = statusPartition{Name: p.Name, Location: p.Location, State: partitionUnreachable, Error: fmt.Sprintf("no answer within %v", statusPart)}
			}
		}
		return out
	}
}

// checkPartition reads a few small objects of a partition.
func checkPartition(ctx context.Context, p repository.Config, now func() time.Time) statusPartition {
	out := statusPartition{Name: p.Name, Location: p.Location, State: partitionOK, Runs: map[string]*repository.Run{}}
	if dir := directoryOf(p); dir != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			out.State, out.Error = partitionUnreachable, "the directory does not exist or cannot be opened"
			return out
		}
		out.checkSpace(dir)
	}
	b, info, err := repository.ReadSmall(ctx, p.Store, repository.Key)
	switch {
	case errors.Is(err, objstore.ErrNotExist), errors.Is(err, fs.ErrNotExist):
		out.State = partitionEmpty
		return out
	case err == nil:
		out.Offset = info.StoreTime.Sub(now().Round(0)).Seconds()
		if info.StoreTime.IsZero() {
			out.Offset = 0
		}
		var repo *repository.Info
		if repo, err = repository.DecodeInfo(b); err == nil {
			out.Created = repo.Created
		}
	}
	if err == nil {
		err = out.readRecords(ctx, p.Store)
	}
	if err != nil {
		out.State, out.Error = partitionUnreachable, err.Error()
	}
	return out
}

// readRecords reads the last collection, the last runs and the contacts. An object that cannot be
// understood is noted; an error of the store ends it.
func (s *statusPartition) readRecords(ctx context.Context, store objstore.Store) error {
	last, err := collection.Last(ctx, store)
	if s.failed(err) {
		return err
	}
	if last != nil && err == nil {
		s.Condemned, s.Reclaimable, s.Collected = last.Condemned.Bytes, last.Reclaimable().Bytes, last.Time
		s.packs = last.All.Bytes
	}
	for _, command := range repository.RunCommands() {
		r, err := repository.LastRun(ctx, store, command)
		switch {
		case errors.Is(err, objstore.ErrNotExist):
		case s.failed(err):
			return err
		case err == nil:
			s.Runs[command] = r
		}
	}
	for k, err := range repository.Contacts(ctx, store) {
		if s.failed(err) {
			return err
		}
		if err == nil {
			s.contacts = append(s.contacts, k)
			s.Written = newer(s.Written, k.Written)
		}
	}
	return nil
}

// failed reports whether the store has failed. It notes any other error.
func (s *statusPartition) failed(err error) bool {
	if err == nil || repository.IsStoreError(err) {
		return err != nil
	}
	s.unread = err
	return false
}

func (s *statusPartition) checkSpace(dir string) {
	var of unix.Statfs_t
	if unix.Statfs(dir, &of) != nil {
		return
	}
	s.Space = &space{Free: int64(of.Bavail) * of.Bsize, Total: int64(of.Blocks) * of.Bsize}
}
