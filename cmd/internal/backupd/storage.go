package backupd

import (
	"context"
	"errors"
	"path/filepath"
	"sort"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/clock"
	"github.com/cyrusbackup/backupd/cmd/internal/metrics"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/version"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
)

// Index returns the directory of the index.
func (b *backups) Index() string { return b.env.conf.String("backup_index_path") }

// Fingerprint names the partitions and the index.
func (b *backups) Fingerprint() string { return fingerprint(b.env.conf) }

func fingerprint(conf *imapconf.File) string {
	names, at, err := stores.Locations(conf)
	if err != nil {
		return err.Error()
	}
	sort.Strings(names)
	parts := []string{"index=" + filepath.Clean(conf.String("backup_index_path"))}
	for _, n := range names {
		parts = append(parts, n+"="+at[n].String())
	}
	return strings.Join(parts, " ")
}

// Open opens the index and the stores.
func (b *backups) Open(ctx context.Context) error {
	conf := b.env.conf
	cli.LimitIndexMemory(conf.Size("backup_memory_limit"))
	configs, closer, err := stores.Open(ctx, conf, stores.Options{
		Logger: b.env.log, Requests: conf.Int("backup_upload_concurrency") * 4, Later: true,
		Observe: b.meter.Stores.Hooks, Retried: b.meter.Stores.Retried,
	})
	if err != nil {
		return err
	}
	x, err := index.Open(b.Index(), index.Options{
		Logger: b.env.log, Reserve: conf.Size("backup_index_reserve"), RetryOpen: true,
		FilterMemory: conf.Size("backup_memory_limit") / 16,
		OnDamage:     func(err error) { b.env.end(err.Error()) },
	})
	if err != nil {
		return errors.Join(err, closer.Close())
	}
	opt, err := partitionOptions(conf)
	if err == nil {
		opt.Partitions, opt.Index, opt.Logger = configs, x, b.env.log
		b.set, err = partitions.Open(opt)
	}
	if err != nil {
		return errors.Join(err, x.Close(), closer.Close())
	}
	b.index, b.stores = x, closer
	if err := b.meter.Watch(metrics.Engine{Index: x.Status, Set: b.set, Partitions: configs}); err != nil {
		return errors.Join(err, b.closeStorage())
	}
	if b.ctl, err = control.Listen(conf.String("backup_control_socket"), b.env.log, b.control); err != nil {
		return errors.Join(err, b.closeStorage())
	}
	b.publish()
	return nil
}

// publish begins to serve or write metrics, if that is configured.
func (b *backups) publish() {
	if at := b.env.conf.String("backup_metrics_listen"); at != "" {
		b.meter.Serve(at)
	}
	if path := b.env.conf.String("backup_metrics_file"); path != "" {
		b.meter.WriteTo(path)
	}
}

// Stays reports whether the process is to stay while it is idle: somebody may ask for metrics.
func (b *backups) Stays() bool { return b.env.conf.String("backup_metrics_listen") != "" }

func partitionOptions(conf *imapconf.File) (partitions.Options, error) {
	level, err := pack.ParseLevel(conf.Word("backup_compression"))
	if err != nil {
		return partitions.Options{}, conf.Errorf("backup_compression", "%v", err)
	}
	host, err := conf.ServerName()
	if err != nil {
		return partitions.Options{}, err
	}
	rule, err := stores.Tripwire(conf)
	if err != nil {
		return partitions.Options{}, err
	}
	return partitions.Options{
		Names:          stores.Names(conf),
		Pack:           pack.Options{Level: level},
		PackSize:       conf.Size("backup_pack_size"),
		PackBuffers:    conf.Int("backup_pack_buffers"),
		InlineLimit:    conf.Size("backup_inline_limit"),
		ChunkThreshold: conf.Size("backup_chunk_threshold"),
		MemoryLimit:    conf.Size("backup_memory_limit") / 2,
		OutageWait:     conf.Duration("backup_outage_wait"),
		MissingRetry:   conf.Duration("backup_missing_retry"),
		Exclusive:      conf.Switch("backup_exclusive"),
		DedupPerBackup: conf.Word("backup_dedup") == "backup",
		Tripwire:       rule,
		Host:           host,
		Software:       version.Software(),
		Now:            clock.Now,
	}, nil
}

// Close closes what Open opened.
func (b *backups) Close() error {
	err := errors.Join(b.ctl.Close(), b.meter.Close(), b.set.Close())
	b.leaveStatus()
	return errors.Join(err, b.closeIndex())
}

func (b *backups) closeStorage() error {
	return errors.Join(b.meter.Close(), b.set.Close(), b.closeIndex())
}

func (b *backups) closeIndex() error { return errors.Join(b.index.Close(), b.stores.Close()) }
