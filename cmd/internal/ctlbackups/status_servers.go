package ctlbackups

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// statusServer is a mail server.
type statusServer struct {
	Client string    `json:"client"`
	Last   time.Time `json:"last"`           // contact with any backup host
	Host   string    `json:"host,omitempty"` // that had it
	// Backups are the backups that this server has reached last, as the index of this host knows; absent
	// = unknown.
	Backups *int                `json:"backups,omitempty"`
	Refused *repository.Refusal `json:"refused,omitempty"` // the last one
	// Refusals counts those by this host since the last success of the server; absent = unknown.
	Refusals *int64 `json:"refusals,omitempty"`
	// Unlisted is as in partitions.ServerStatus.
	Unlisted bool `json:"unlisted,omitempty"`
}

// addSet adds what the daemon of this host knows.
func (r *statusReport) addSet(s *partitions.Status) {
	r.Behind, r.Servers = []partitions.Behind{}, []statusServer{}
	if s == nil {
		return
	}
	for i := range r.Partitions {
		p := &r.Partitions[i]
		for _, of := range s.Partitions {
			if of.Name == p.Name {
				p.Backups, p.Counted, p.known = &of.Backups, of.Counted, of.Known
				p.own, p.unsized = of.Bytes, of.Unsized
				p.Written = newer(newer(p.Written, of.Written), of.Changed)
			}
		}
	}
	for _, of := range s.Servers {
		r.Servers = append(r.Servers, statusServer{Client: of.Client, Last: of.Last, Host: s.Host, Backups: &of.Backups, Refused: of.Refused, Refusals: &of.Refusals, Unlisted: of.Unlisted})
	}
	r.Unknown, r.Lacking = s.Unknown, s.Lacking
	for _, b := range s.Behind {
		if r.has(b.Partition) {
			r.Behind = append(r.Behind, b)
		}
	}
}

func (r *statusReport) has(partition string) bool {
	return slices.ContainsFunc(r.Partitions, func(p statusPartition) bool { return p.Name == partition })
}

// addContacts adds what all backup hosts have put into the partitions.
func (r *statusReport) addContacts() {
	servers := map[string]statusServer{}
	for _, s := range r.Servers {
		servers[s.Client] = s
	}
	there := map[string]bool{}
	for _, b := range r.Behind {
		there[b.Path+" "+b.Client] = true
	}
	for _, p := range r.Partitions {
		for _, k := range p.contacts {
			s := servers[k.Client]
			s.Client = k.Client
			if k.Last.After(s.Last) {
				s.Last, s.Host = k.Last, k.Host
			}
			if k.Refused != nil && (s.Refused == nil || k.Refused.At.After(s.Refused.At)) {
				s.Refused = k.Refused
			}
			servers[k.Client] = s
			if k.Host != r.Host {
				r.addBehind(p.Name, k, there)
			}
		}
	}
	r.Servers = r.Servers[:0]
	for _, client := range slices.Sorted(maps.Keys(servers)) {
		r.Servers = append(r.Servers, servers[client])
	}
}

// addBehind adds the backups that another host could not serve. Each partition has the same list.
func (r *statusReport) addBehind(partition string, k *repository.Contact, there map[string]bool) {
	for _, b := range k.Unreached {
		key := b.Backup + " " + k.Client
		if there[key] {
			continue
		}
		there[key] = true
		if r.Lacking == nil {
			r.Lacking = map[string]int{}
		}
		r.Lacking[partitions.BehindRefused]++
		r.Behind = append(r.Behind, partitions.Behind{Partition: partition, Path: b.Backup, Name: b.Backup, Why: partitions.BehindRefused,
			Since: b.Since, Client: k.Client, Kind: b.Kind, Error: k.Host + ": " + b.Error, Action: b.Action})
	}
}

// addHolds reads the holds of the backups that have some.
func (c *command) addHolds(ctx context.Context, r *statusReport, chosen []repository.Config, set *partitions.Status) {
	if set == nil {
		return
	}
	for _, of := range set.Partitions {
		i := slices.IndexFunc(chosen, func(p repository.Config) bool { return p.Name == of.Name })
		if i < 0 || r.Partitions[i].State != partitionOK {
			continue
		}
		for _, path := range of.Held {
			holds, _, err := cli.Holds(ctx, &repository.Found{Partition: chosen[i], Path: path}, c.now)
			if err != nil {
				r.Partitions[i].unread = err
				break
			}
			if len(holds) > 0 {
				r.Holds = append(r.Holds, statusHold{Partition: of.Name, Backup: path, Holds: holds})
			}
		}
	}
}
