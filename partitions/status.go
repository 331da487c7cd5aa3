package partitions

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Status is what a host knows about its partitions, mail servers and users, for people and for
// monitoring. It reads only the index.
type Status struct {
	Time       time.Time         `json:"time"`
	Host       string            `json:"host"`
	Partitions []PartitionStatus `json:"partitions"`
	Servers    []ServerStatus    `json:"servers"`
	// Unknown are the backups that no known mail server has reached since the index was made.
	Unknown int `json:"unknown,omitempty"`
	// Behind are backups that lack something. At most MostBehind of them are listed; Lacking counts all
	// of them by reason.
	Behind   []Behind       `json:"behind,omitempty"`
	Lacking  map[string]int `json:"lacking,omitempty"`
	Troubles []TroubleText  `json:"troubles,omitempty"`

	names map[string]int // refused names without a backup, by client
}

// PartitionStatus is what the index knows about a partition.
type PartitionStatus struct {
	Name string `json:"name"`
	// Known means that there was a repository when this host last looked.
	Known   bool `json:"known"`
	Backups int  `json:"backups"`
	// Bytes are those of the backups' own objects, without packs. Unsized are the backups whose bytes the
	// index does not know.
	Bytes   int64 `json:"bytes"`
	Unsized int   `json:"unsized,omitempty"`
	// Written is when this process has last committed something, Changed when a mail server has last
	// changed something in a backup; zero = unknown.
	Written time.Time `json:"written,omitzero"`
	Changed time.Time `json:"changed,omitzero"`
	// Counted is when the backups in the bucket were counted last; zero = never: some may be missing
	// here.
	Counted time.Time `json:"counted,omitzero"`
	// Held are the paths of backups with holds, at most MostBehind. MoreHeld is the number of others.
	Held     []string `json:"held,omitempty"`
	MoreHeld int      `json:"more_held,omitempty"`
	// ContactAges count the backups by the time since their mail server was in contact, ChangeAges by
	// the time since their last change. They and the following are for metrics.
	ContactAges Ages `json:"-"`
	ChangeAges  Ages `json:"-"`
	// Resync are mailboxes that wait until the mail server sends them completely. Missing are about the
	// bodies that mail servers could not read.
	Resync  int `json:"-"`
	Missing int `json:"-"`
}

// ServerStatus is what the index knows about a mail server.
type ServerStatus struct {
	Client  string              `json:"client"`
	Last    time.Time           `json:"last"`
	Refused *repository.Refusal `json:"refused,omitempty"`
	// Refusals counts the commands that this host has refused since it last executed all that the server
	// asked for about a backup.
	Refusals int64 `json:"refusals"`
	Backups  int   `json:"backups"` // that it has reached last
	// Unlisted is set if the refused users without a backup are so many that others may be missing in Behind.
	Unlisted bool `json:"unlisted,omitempty"`
}

// The reasons of Behind.
const (
	BehindRefused = "refused" // a command was refused since the last success
	BehindResync  = "resync"  // mailboxes wait until the mail server sends them completely
	BehindMissing = "missing" // the mail server could not read bodies
	BehindCompare = "compare" // a change was refused, and the next comparison delivers it
)

// MostBehind is how many backups Status lists of a kind.
const MostBehind = 100

// Behind is a backup that lacks something.
type Behind struct {
	Partition string    `json:"partition"`
	Path      string    `json:"path"`
	Name      string    `json:"name"`
	Why       string    `json:"why"`
	Count     int       `json:"count,omitempty"` // of mailboxes in resync, or about of missing bodies
	Since     time.Time `json:"since,omitzero"`
	Client    string    `json:"client,omitempty"`
	Kind      string    `json:"kind,omitempty"` // of the refusal
	Error     string    `json:"error,omitempty"`
	Action    string    `json:"action,omitempty"`
}

// TroubleText is a Trouble, with what to do about it.
type TroubleText struct {
	Partition string    `json:"partition,omitempty"`
	Backup    string    `json:"backup,omitempty"`
	Kind      string    `json:"kind"`
	Since     time.Time `json:"since"`
	Error     string    `json:"error"`
	Action    string    `json:"action"`
}

// Status returns what the index knows. It writes contacts to the index first.
func (s *Set) Status() (*Status, error) {
	if err := s.FlushContacts(); err != nil {
		return nil, err
	}
	out := &Status{Time: s.opt.Now(), Host: s.opt.Host, Lacking: map[string]int{}, names: map[string]int{}}
	var known map[string]serverContact
	var l lacking
	err := s.index.View(func(t *index.Txn) (err error) {
		if known, err = servers(t); err == nil {
			l, err = readLacking(t)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	reached := map[string]int{}
	for _, p := range s.parts {
		status, err := s.partitionStatus(p, out, l, known, reached)
		if err != nil {
			return nil, err
		}
		out.Partitions = append(out.Partitions, status)
	}
	if err := s.addNewcomers(out); err != nil {
		return nil, err
	}
	for _, client := range slices.Sorted(maps.Keys(known)) {
		v := known[client]
		out.Servers = append(out.Servers, ServerStatus{Client: client, Last: v.Last, Refused: v.Refused, Refusals: v.Refusals, Backups: reached[client], Unlisted: out.names[client] >= namesMost || s.unlisted(v)})
	}
	for _, t := range s.Troubles() {
		k := troubleKey{scope: troubleScope{partition: t.Partition, backup: t.Backup}, kind: troubleKind(t.Kind)}
		out.Troubles = append(out.Troubles, TroubleText{Partition: t.Partition, Backup: t.Backup, Kind: t.Kind, Since: t.Since, Error: shortened(t.Err.Error()), Action: k.kind.advice(k.scope)})
	}
	return out, nil
}

// partitionStatus adds the backups of a partition to out and to reached, and returns the rest.
func (s *Set) partitionStatus(p *Partition, out *Status, l lacking, known map[string]serverContact, reached map[string]int) (PartitionStatus, error) {
	status := PartitionStatus{Name: p.name, Written: p.lastWrite()}
	err := s.index.View(func(t *index.Txn) (err error) {
		status.Counted, err = lastCensus(t, p.name)
		return err
	})
	if err != nil && !errors.Is(err, ErrNoCensus) {
		return status, err
	}
	id, err := s.indexedRepository(p.name)
	if err != nil {
		return status, err
	}
	status.Known = id != ""
	bounds := AgeBounds()
	for some, err := range s.known(p.name, true) {
		if err != nil {
			return status, err
		}
		if err := s.index.View(func(t *index.Txn) error { return l.readOwed(t, some) }); err != nil {
			return status, err
		}
		for i := range some {
			k := &some[i]
			status.add(k)
			status.ContactAges.add(out.Time, k.Contact, bounds)
			status.ChangeAges.add(out.Time, k.Changed, bounds)
			if k.indexed {
				status.Resync += l.resync[k.id]
				status.Missing += l.missing[k.id]
			}
			if _, there := known[k.Client]; there {
				reached[k.Client]++
			} else {
				out.Unknown++
			}
			l.add(out, k)
		}
	}
	return status, nil
}

func (p *PartitionStatus) add(k *Known) {
	p.Backups++
	if p.Bytes += k.Bytes; k.Bytes == 0 {
		p.Unsized++
	}
	p.Changed = later(p.Changed, k.Changed)
	switch {
	case !k.Held:
	case len(p.Held) < MostBehind:
		p.Held = append(p.Held, k.Path)
	default:
		p.MoreHeld++
	}
}

// lacking has what backups lack, by their numbers in the index; owed by path.
type lacking struct {
	resync, missing map[uint64]int
	owes            bool // a backup owes a comparison
	owed            map[string]bool
}

func readLacking(t *index.Txn) (lacking, error) {
	l := lacking{resync: map[uint64]int{}, missing: map[uint64]int{}, owed: map[string]bool{}}
	for kv, err := range t.Range(index.ResyncPrefix(), nil) {
		if err != nil {
			return l, err
		}
		l.resync[index.NumberOf(kv.Key)]++
	}
	for kv, err := range t.Range(index.AskedPrefix(), nil) {
		if err != nil {
			return l, err
		}
		var a Asked
		if err := json.Unmarshal(kv.Value, &a); err != nil {
			return l, err
		}
		if a.Missing > 0 {
			l.missing[index.NumberOf(kv.Key)] += a.Missing
		}
	}
	for _, err := range t.Keys(index.OwedPrefix(), nil, 1) {
		if err != nil {
			return l, err
		}
		l.owes = true
	}
	return l, nil
}

// readOwed reads which of some backups owe a comparison.
func (l *lacking) readOwed(t *index.Txn, some []Known) (err error) {
	clear(l.owed)
	for i := 0; i < len(some) && l.owes && err == nil; i++ {
		l.owed[some[i].Path], err = t.Has(index.OwedKey(some[i].Path))
	}
	return err
}

// add adds what a backup lacks.
func (l *lacking) add(out *Status, k *Known) {
	b := Behind{Partition: k.Partition, Path: k.Path, Name: k.Name, Client: k.Client}
	if k.Refused != nil {
		out.lacks(refusedOf(k.Refused, b))
	}
	if n := l.resync[k.id]; n > 0 && k.indexed {
		b.Why, b.Count = BehindResync, n
		out.lacks(b)
	}
	if n := l.missing[k.id]; n > 0 && k.indexed {
		b.Why, b.Count = BehindMissing, n
		out.lacks(b)
	}
	if l.owed[k.Path] {
		b.Why, b.Count = BehindCompare, 0
		out.lacks(b)
	}
}

// refusedOf returns b as a refused backup.
func refusedOf(r *repository.Refusal, b Behind) Behind {
	b.Why, b.Since, b.Kind, b.Error, b.Action = BehindRefused, r.Since, r.Kind, r.Error, r.Action
	return b
}

func (s *Status) lacks(b Behind) {
	if s.Lacking[b.Why]++; s.Lacking[b.Why] <= MostBehind {
		s.Behind = append(s.Behind, b)
	}
}
