package partitions

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// Set is all partitions of one daemon with their common index. Its methods are safe for
// concurrent use.
type Set struct {
	opt   Options
	log   *slog.Logger
	index *index.Index
	parts []*Partition
	// Bytes of bodies outside of packs. Half of the memory limit is for bodies staged for a commit.
	// They keep their memory until the client continues, so nothing may wait for staged. The other
	// half is for bodies that a command is processing: a quarter of it is working, which commands
	// wait for because it waits for no client, a quarter arriving, and half of it pieces, for
	// large messages while they arrive.
	working, staged, pieces *semaphore.Weighted
	arriving                arrivals
	bodies                  bodyBlocks

	// life is the context of puts of packs and checkpoints that nothing waits for. It ends
	// with Close.
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup

	troubles *troubles

	checkpoints chan *Backup // backups with a due checkpoint; one is written at a time
	suspects    chan suspect // backups that have lost many messages; one is checked at a time

	censuses censuses
	received amountCounter
	contacts *contacts
	owed     owedNames
	// forgotSent is the last period in which forgetSent has run. Only writeContacts uses it.
	forgotSent uint32

	mu      sync.Mutex
	backups map[string]*Backup    // by path, those used since the process started: see handles.go
	claims  map[string]*Partition // by repository id
}

// Open returns a Set. It sends no request to the stores: the first command that needs an
// unreachable bucket waits for it. The caller closes the index after Close.
func Open(opt Options) (*Set, error) {
	if err := opt.defaults(); err != nil {
		return nil, err
	}
	s := &Set{
		opt: opt, log: opt.Logger, index: opt.Index,
		working:     semaphore.NewWeighted(max(opt.workingMemory(8), lookupsAtOnce*lookupMemory)),
		pieces:      semaphore.NewWeighted(opt.workingMemory(4)),
		arriving:    arrivals{memory: semaphore.NewWeighted(opt.workingMemory(8))},
		staged:      semaphore.NewWeighted(opt.MemoryLimit / 2),
		backups:     map[string]*Backup{},
		claims:      map[string]*Partition{},
		checkpoints: make(chan *Backup, 1024),
		suspects:    make(chan suspect, 1024),
	}
	s.troubles = newTroubles(s.log, opt.Now)
	s.contacts = newContacts(opt.Now())
	s.life, s.end = context.WithCancel(context.Background())
	for _, c := range opt.Partitions {
		p := &Partition{name: c.Name, location: c.Location, plain: c.Store, set: s, asking: make(chan struct{}, 1)}
		p.numbers.part = p
		p.commits = semaphore.NewWeighted(opt.commitMemory())
		p.clock.Log, p.clock.Pause = opt.Logger.With("partition", p.name), opt.ClockPause
		p.store = storeclock.Store{Store: c.Store, Clock: &p.clock, Now: opt.Now}
		p.watch()
		p.pool = newPackPool(p)
		p.objects = history.NewObjects(p.store, 64)
		p.taken = history.NewObjects(p.store, takenObjects)
		p.taken.KeepFrames(takenFrames)
		if err := p.loadLosses(); err != nil {
			return nil, err
		}
		s.parts = append(s.parts, p)
	}
	s.work.Go(s.writeCheckpoints)
	s.work.Go(s.checkSuspects)
	s.work.Go(s.writeContacts)
	return s, nil
}

// Close ends background work. All sessions must be closed before.
func (s *Set) Close() error {
	s.end()
	s.work.Wait()
	s.endContacts()
	return nil
}

// Partitions returns the configured partitions in the order of the configuration.
func (s *Set) Partitions() []*Partition { return s.parts }

// Configs returns the partitions in the form that the tools use.
func (s *Set) Configs() (out []repository.Config) {
	for _, p := range s.parts {
		out = append(out, p.Config())
	}
	return out
}

func (s *Set) partition(name string) *Partition {
	for _, p := range s.parts {
		if p.name == name {
			return p
		}
	}
	return nil
}

func (s *Set) indexedRepository(partition string) (id string, err error) {
	err = s.index.View(func(t *index.Txn) error {
		b, err := t.Get(index.RepositoryKey(partition))
		if errors.Is(err, index.ErrNotFound) {
			return nil
		}
		id = string(b)
		return err
	})
	return id, err
}

// forgetPartition drops everything in the index about a partition and its backups, and stores
// which repository is there now. empty is when a count showed that it had no backups; zero = unknown.
func (s *Set) forgetPartition(partition, id string, empty countStart) error {
	if p := s.partition(partition); p != nil {
		p.epoch.Add(1)
	}
	entries, err := s.entries()
	if err != nil {
		return err
	}
	for path, e := range entries {
		if e.Partition != partition {
			continue
		}
		if err := s.dropBackup(path, e.ID); err != nil {
			return err
		}
	}
	if err := s.index.DropPartition(partition); err != nil {
		return err
	}
	s.censuses.mu.Lock()
	defer s.censuses.mu.Unlock()
	return s.index.Update(func(t *index.Txn) error {
		if err := forgetCensus(t, partition); err != nil {
			return err
		}
		if !empty.at.IsZero() && empty.forgot == s.censuses.forgot {
			if err := setCensus(t, partition, empty.at); err != nil {
				return err
			}
		}
		return t.Set(index.RepositoryKey(partition), []byte(id))
	})
}

// Options returns the settings, with the defaults filled in.
func (s *Set) Options() *Options { return &s.opt }

// NameOf is Names.Of with the settings of the Set.
func (s *Set) NameOf(mailbox string) repository.Name { return s.opt.Names.Of(mailbox) }

// BackupsOf returns the backups that hold the mailbox with this uniqueid, according to the
// index.
func (s *Set) BackupsOf(uniqueid string) (names []repository.Name, err error) {
	err = s.index.View(func(t *index.Txn) error {
		prefix := index.UniqueIDPrefix(uniqueid)
		for k, err := range t.Keys(prefix, nil, 100) {
			if err != nil {
				return err
			}
			e, err := s.readEntry(string(k[len(prefix):]))
			if err != nil {
				return err
			}
			if e != nil {
				names = append(names, repository.Name{Kind: e.Kind, Full: e.Name})
			}
		}
		return nil
	})
	return names, err
}
