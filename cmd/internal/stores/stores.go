// Package stores opens the partitions in imapd.conf. It is the only package that knows the
// concrete drivers.
package stores

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/clock"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/saslconf"
	"github.com/cyrusbackup/backupd/internal/scopes"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/awsstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/limit"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/objstore/prefixed"
	"github.com/cyrusbackup/backupd/objstore/retry"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const prefix = "backuppartition-"

// hangLimit limits the time of a system call on a directory. Users of other partitions may have to
// wait for the call; after this time it counts as hanging.
const hangLimit = 30 * time.Second

// Options of Open.
type Options struct {
	Logger *slog.Logger
	// Retry limits how long one request is retried (never a conditional put). Callers that
	// retry themselves keep it short. 0: 5 s.
	Retry time.Duration
	// Hang limits the time of a system call on a directory. 0: half a minute, or
	// backup_outage_wait if that is shorter.
	Hang     time.Duration
	Requests int                                  // concurrent, in each partition; 0: no limit
	Observe  func(partition string) observe.Hooks // observes each request; nil: none
	Retried  func(partition string)               // is called before a request is repeated; nil: no call
	// CredentialsFile is backup_credentials_file; Open takes it from the configuration.
	CredentialsFile string
	// Only selects the partitions to open; nil: all.
	Only func(objstore.Location) bool
	// Tolerant continues when a partition cannot be opened; its operations fail. Open returns
	// an error only if no partition can be opened.
	Tolerant bool
	// Later tries again, for a daemon, to open partitions that cannot be opened; until then
	// their operations fail. Open waits for several hanging partitions no longer than for one.
	Later bool
	// ReadOnly creates nothing in a directory, and not the directory itself.
	ReadOnly bool
}

// Open opens the store of every partition. It accesses only directories, and sends no requests.
// The closer closes the stores.
func Open(ctx context.Context, conf *imapconf.File, o Options) ([]repository.Config, io.Closer, error) {
	names, at, err := Locations(conf)
	if err != nil {
		return nil, nil, err
	}
	o = o.from(conf)
	names = slices.DeleteFunc(names, func(name string) bool { return o.Only != nil && !o.Only(at[name]) })
	if o.Later {
		parts, open := openLater(ctx, conf, names, at, o)
		return parts, open, nil
	}
	var out []repository.Config
	var open closers
	var failed error
	for _, name := range names {
		p, c, err := OpenOne(ctx, name, at[name], o)
		if err != nil {
			err = conf.Errorf(prefix+name, "%v", err)
			failed = errors.Join(failed, err)
			if !o.Tolerant {
				return nil, nil, errors.Join(err, open.Close())
			}
			out = append(out, repository.Config{Name: name, Location: at[name].String(), Store: unopened{err}})
			continue
		}
		open = append(open, c)
		out = append(out, p)
	}
	if failed != nil && len(open) == 0 {
		return nil, nil, failed
	}
	return out, open, nil
}

// from adds the settings in imapd.conf for all stores.
func (o Options) from(conf *imapconf.File) Options {
	o.CredentialsFile = conf.String("backup_credentials_file")
	if o.Hang == 0 {
		o.Hang = min(conf.Duration("backup_outage_wait"), hangLimit)
	}
	return o
}

// openLater opens all partitions concurrently, each now or as soon as possible.
func openLater(ctx context.Context, conf *imapconf.File, names []string, at map[string]objstore.Location, o Options) ([]repository.Config, closers) {
	out, open := make([]repository.Config, len(names)), make(closers, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			s := newLater(ctx, func(ctx context.Context) (objstore.Store, error) {
				s, err := openStore(ctx, name, at[name], o)
				if err != nil {
					return nil, conf.Errorf(prefix+name, "%w", err)
				}
				return s, nil
			})
			if _, err := s.get(ctx); err != nil && o.Logger != nil {
				o.Logger.Error("a partition cannot be opened; backupd retries it, and serves the others", "partition", name, "err", err)
			}
			open[i] = s
			out[i] = repository.Config{Name: name, Location: at[name].String(), Store: decorate(s, name, at[name], o)}
		})
	}
	all.Wait()
	return out, open
}

// OpenOne opens a store, which need not be in imapd.conf, as a partition with this name.
func OpenOne(ctx context.Context, name string, l objstore.Location, o Options) (repository.Config, io.Closer, error) {
	s, err := openStore(ctx, name, l, o)
	if err != nil {
		return repository.Config{}, nil, err
	}
	var open closers
	if c, ok := s.(io.Closer); ok {
		open = append(open, c)
	}
	return repository.Config{Name: name, Location: l.String(), Store: decorate(s, name, l, o)}, open, nil
}

func openStore(ctx context.Context, name string, l objstore.Location, o Options) (objstore.Store, error) {
	log := o.Logger
	if log != nil {
		log = log.With("partition", name)
	}
	switch l.Scheme {
	case objstore.Dir:
		return dirstore.OpenWith(ctx, l.Path, dirstore.Options{CallTimeout: o.Hang, Logger: log, ReadOnly: o.ReadOnly})
	case objstore.S3:
		return awsstore.Open(ctx, l, awsstore.Options{CredentialsFile: o.CredentialsFile, Log: log})
	case objstore.MinIO:
		return miniostore.Open(l, miniostore.Options{CredentialsFile: o.CredentialsFile, Log: log})
	}
	return nil, fmt.Errorf("no driver for %s", l)
}

// decorate adds observation, limits and retry. Retry is outermost, so observation and limits
// see each attempt.
func decorate(s objstore.Store, name string, l objstore.Location, o Options) objstore.Store {
	s = clock.Store(s)
	if o.Observe != nil {
		s = observe.New(s, o.Observe(name))
	}
	s = limit.New(prefixed.New(s, l.Prefix), limit.Options{Requests: o.Requests})
	if o.Retry == 0 {
		o.Retry = 5 * time.Second
	}
	return retry.New(s, retry.Options{MaxElapsed: o.Retry, Notify: func(err error, pause time.Duration) {
		if o.Retried != nil {
			o.Retried(name)
		}
		if o.Logger != nil {
			o.Logger.Warn("the store did not answer as it should; trying again", "partition", name, "pause", pause.Round(time.Millisecond).String(), "err", err)
		}
	}})
}

type closers []io.Closer

func (cs closers) Close() error {
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Names returns the settings that assign mailboxes to backups.
func Names(conf *imapconf.File) repository.Names {
	return repository.Names{DefaultDomain: conf.String("defaultdomain"), DeletedPrefix: conf.String("deletedprefix")}
}

// AdminForm returns the form of mailbox names on the command line, which is the form that
// administrators see over IMAP.
func AdminForm(conf *imapconf.File) cyrus.AdminForm {
	return cyrus.AdminForm{
		UnixHierarchySep: conf.Switch("unixhierarchysep"),
		DefaultDomain:    conf.String("defaultdomain"),
		VirtDomains:      conf.Word("virtdomains") != "off",
	}
}

// Scopes reads the file of backup_scopes; nil = the option is not set.
func Scopes(conf *imapconf.File) (*scopes.Table, error) {
	path := conf.String("backup_scopes")
	if path == "" {
		return nil, nil
	}
	return scopes.Load(path, AdminForm(conf), saslconf.UserNames(conf).Canonical)
}
