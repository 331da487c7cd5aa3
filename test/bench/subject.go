package main

import (
	"github.com/cyrusbackup/backupd/test/bench/record"
)

// kind is a server.
type kind string

const (
	null     kind = "null"        // accepts everything, stores nothing: the client's limit
	debian   kind = "Debian"      // Cyrus Backups
	replica  kind = "sync_server" // a replica
	dirStore kind = "directory"   // ours
	minio    kind = "MinIO"       // ours
)

func (k kind) ours() bool { return k == dirStore || k == minio }

// build is a directory with our programs.
type build struct {
	suffix string // of the columns: record.Before, record.After, or empty without a comparison
	dir    string
}

// subject is a server of a build, a column of most tables.
type subject struct {
	kind
	build
}

func (s subject) column() string { return string(s.kind) + s.suffix }

// subjects returns those of the kinds that this run measures. Two builds take turns, and a
// comparison has no servers of others.
func (l *lab) subjects(kinds ...kind) (all []subject) {
	for _, k := range kinds {
		switch {
		case k == minio && l.minio == "":
		case k.ours():
			for _, b := range l.builds {
				all = append(all, subject{k, b})
			}
		case !l.comparing():
			all = append(all, subject{k, l.newest()})
		}
	}
	return all
}

func (l *lab) comparing() bool { return len(l.builds) > 1 }

// newest is the build whose client pushes to every server.
func (l *lab) newest() build { return l.builds[len(l.builds)-1] }

// addCost adds the metrics of a program's run.
func addCost(t *record.Table, work, column string, c cost) {
	t.Add(work, column, record.Wall, c.wall)
	t.Add(work, column, record.CPU, c.cpu)
	t.Add(work, column, record.PeakRSS, c.peak)
}
