package partitions

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/objstore/pack/cdc"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
	"github.com/cyrusbackup/backupd/partitions/tripwire"
)

// Options are the settings of Open. Zero values get the defaults shown.
type Options struct {
	Partitions []repository.Config
	Index      *index.Index
	Logger     *slog.Logger // nil discards

	Names repository.Names // DeletedPrefix: "DELETED"

	Pack             pack.Options
	PackSize         int64         // bytes of a pack; 12 MiB
	PackBuffers      int           // packs in memory per partition, including those being put; 3
	InlineLimit      int64         // smaller messages go into their commit; 1 MiB
	ChunkThreshold   int64         // larger messages are split by content; 1 MiB
	MemoryLimit      int64         // bytes that all connections may hold in addition to the packs; 96 MiB
	OutageWait       time.Duration // how long to wait for temporary trouble to end; 10 min
	OthersFirst      time.Duration // OutageWait while another partition answers; 5 s
	PatientWait      time.Duration // OutageWait for commands that must not be refused; 25 min
	MissingRetry     time.Duration // pause before asking again for unreadable bodies, or for a mailbox whose CRCs differ; 24 h
	Exclusive        bool          // no other host writes, so the store need not support conditional puts
	DedupPerBackup   bool          // new repositories share messages only within a backup
	Host             string        // name of this host in commits
	Software         string        // name and version in repository.json
	Now              func() time.Time
	ClockPause       time.Duration // between requests for a store's time that is in doubt; 1 s
	NoProbe          bool          // nothing will be written, so the abilities of the stores do not matter
	NoCheckpoints    bool          // for tests that look only at the log
	CheckpointObject int           // commits between two checkpoints; 256
	Tripwire         tripwire.Rule // of deletions; zero = off
	ContactPause     time.Duration // how long contacts of mail servers are gathered before the index has them; 1 min
	CommitRecords    int           // most records, and most messages, in the commit itself; 16,384
}

func (o *Options) defaults() error {
	if len(o.Partitions) == 0 {
		return errors.New("no backuppartition-NAME is configured: at least one is needed")
	}
	if o.Index == nil {
		return errors.New("no index given")
	}
	seen := map[string]bool{}
	for _, c := range o.Partitions {
		if seen[c.Name] {
			return fmt.Errorf("partition %s is configured twice", c.Name)
		}
		seen[c.Name] = true
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Names.DeletedPrefix == "" {
		o.Names.DeletedPrefix = "DELETED"
	}
	orDefault(&o.PackSize, 12<<20)
	orDefault(&o.PackBuffers, 3)
	orDefault(&o.InlineLimit, 1<<20)
	orDefault(&o.ChunkThreshold, 1<<20)
	orDefault(&o.MemoryLimit, 96<<20)
	orDefault(&o.OutageWait, 10*time.Minute)
	orDefault(&o.OthersFirst, 5*time.Second)
	orDefault(&o.PatientWait, 25*time.Minute)
	orDefault(&o.MissingRetry, 24*time.Hour)
	orDefault(&o.ClockPause, storeclock.Pause)
	orDefault(&o.CheckpointObject, 256)
	orDefault(&o.ContactPause, contactPause)
	orDefault(&o.CommitRecords, commitRecords)
	if least := 2 * max(o.ChunkThreshold, cdc.MaxSize); o.MemoryLimit < least {
		return fmt.Errorf("the memory limit is %d bytes: at least %d are needed, for one message to be received", o.MemoryLimit, least)
	}
	return nil
}

// workingMemory returns a share of the memory limit that holds at least one chunk.
func (o *Options) workingMemory(share int64) int64 {
	return max(o.MemoryLimit/share, o.ChunkThreshold, cdc.MaxSize)
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
