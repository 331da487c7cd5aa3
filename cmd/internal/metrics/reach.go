package metrics

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// reachAge is how old the answer of a store becomes before it is asked again: each time is one small
	// request. A store that did not answer is asked again after reachAgain.
	reachAge, reachAgain = time.Minute, 5 * time.Second
	// reachTime limits a request.
	reachTime = 15 * time.Second
)

// reach are the metrics of whether the partitions can be read.
type reach struct {
	state *reading[[]reached]

	reachable, created, checked, offset, free, size *family
}

// reached is what a request to a partition has shown.
type reached struct {
	partition string
	ok        bool
	created   time.Time // of the repository; zero: unknown
	offset    time.Duration
	timed     bool   // offset is known
	space     *space // nil: unknown, or a bucket
}

type space struct{ free, size float64 }

func newReach(c *catalogue, b *background, parts []repository.Config) *reach {
	c.begin("Partitions")
	x := &reach{
		reachable: c.gauge("partition_reachable", "1 if repository.json could be read when it was tried last: at most once a minute, and only while somebody reads the metrics.", "partition"),
		created:   c.gauge("partition_created_timestamp_seconds", "When the repository in the partition was made.", "partition"),
		checked:   c.gauge("partition_checked_timestamp_seconds", "When that was tried.", "partition"),
		offset:    c.gauge("store_clock_offset_seconds", "How far the clock of the store is ahead of the clock of this host. S3 refuses requests from 900 seconds on.", "partition"),
		free:      c.gauge("partition_free_bytes", "Free space of the file system of a partition that is a directory.", "partition"),
		size:      c.gauge("partition_size_bytes", "Size of that file system.", "partition"),
	}
	due := func(all []reached) time.Duration {
		for _, r := range all {
			if !r.ok {
				return reachAgain
			}
		}
		return reachAge
	}
	x.state = newReading(b, "reachability of partitions", due, func(ctx context.Context) ([]reached, error) {
		return reachAll(ctx, parts, b.now), ctx.Err()
	})
	return x
}

// reachAll asks all partitions at the same time.
func reachAll(ctx context.Context, parts []repository.Config, now func() time.Time) []reached {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	out := make([]reached, len(parts))
	var all sync.WaitGroup
	for i, p := range parts {
		all.Go(func() { out[i] = reachOne(ctx, p, now) })
	}
	all.Wait()
	return out
}

func reachOne(ctx context.Context, p repository.Config, now func() time.Time) reached {
	out := reached{partition: p.Name}
	b, info, err := repository.ReadSmall(ctx, p.Store, repository.Key)
	out.ok = err == nil || errors.Is(err, objstore.ErrNotExist) || errors.Is(err, fs.ErrNotExist)
	if out.timed = err == nil && !info.StoreTime.IsZero(); out.timed {
		out.offset = info.StoreTime.Sub(now().Round(0))
	}
	if err == nil {
		if repo, derr := repository.DecodeInfo(b); derr == nil { // otherwise a newer program, or damage
			out.created = repo.Created
		}
	}
	if out.ok {
		out.space = spaceOf(ctx, p.Location)
	}
	return out
}

// spaceOf returns the space of a directory. A file system that hangs is abandoned.
func spaceOf(ctx context.Context, location string) *space {
	l, err := objstore.ParseLocation(location)
	if err != nil || l.Scheme != objstore.Dir || !strings.HasPrefix(l.Path, "/") {
		return nil
	}
	done := make(chan *space, 1)
	go func() {
		var of unix.Statfs_t
		if unix.Statfs(l.Path, &of) != nil {
			done <- nil
			return
		}
		done <- &space{free: float64(of.Bavail) * float64(of.Bsize), size: float64(of.Blocks) * float64(of.Bsize)}
	}()
	select {
	case s := <-done:
		return s
	case <-ctx.Done():
		return nil
	}
}

func (x *reach) collect(ch chan<- prometheus.Metric) {
	all, at, ok := x.state.get()
	if !ok {
		return
	}
	for _, r := range all {
		x.reachable.value(ch, number(r.ok), r.partition)
		x.checked.value(ch, float64(at.Unix()), r.partition)
		if !r.created.IsZero() {
			x.created.value(ch, float64(r.created.Unix()), r.partition)
		}
		if r.timed {
			x.offset.value(ch, r.offset.Seconds(), r.partition)
		}
		if r.space != nil {
			x.free.value(ch, r.space.free, r.partition)
			x.size.value(ch, r.space.size, r.partition)
		}
	}
}
