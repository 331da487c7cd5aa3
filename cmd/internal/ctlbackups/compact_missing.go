package ctlbackups

import (
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// missingOptions chooses what a collection does about missing backups.
func (c *command) missingOptions(p repository.Config, o *collection.Options) {
	o.AcceptMissing = map[string]bool{}
	for _, place := range c.acceptMissing {
		if path, here := strings.CutPrefix(place, p.Name+":"); here {
			o.AcceptMissing[path] = true
		}
	}
	if c.verbose > 0 {
		o.Missing = func(b collection.BlockedError) { c.blocked(p, b) }
	}
}

// blocked prints why packs stay.
func (c *command) blocked(p repository.Config, b collection.BlockedError) {
	cli.Fprintf(c.err, "ctl_backups: partition %s: no pack is removed because of %v\n", p.Name, b)
}

// others prints which missing backups were accepted, and how many reasons and backups have no line.
func (k *compaction) others(p repository.Config, r *collection.Result) {
	for _, path := range r.Accepted {
		k.accepted = append(k.accepted, p.Name+":"+path)
		cli.Fprintf(k.c.err, "ctl_backups: partition %s: accepted that %s is missing\n", p.Name, path)
	}
	if k.c.verbose > 0 {
		return
	}
	if n := r.Blocking - len(r.Blocked); n > 0 {
		cli.Fprintf(k.c.err, "ctl_backups: partition %s: there are %d more such reasons\n", p.Name, n)
	}
	if r.Unchecked > 0 {
		cli.Fprintf(k.c.err, "ctl_backups: partition %s: %s more may be missing: compact -A -v names all\n", p.Name, objects(int64(r.Unchecked), "backup"))
	}
}

// refuseAccepted reports whether --accept-missing has named a backup that is not missing, and prints it.
func (k *compaction) refuseAccepted() (refused bool) {
	for _, place := range k.c.acceptMissing {
		if !slices.Contains(k.accepted, place) {
			refused = true
			cli.Fprintf(k.c.err, "ctl_backups: --accept-missing %s: no partition misses it (give PARTITION:PATH)\n", place)
		}
	}
	return refused
}
