package main

import (
	"fmt"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

// figures finds medians in the tables of a run.
type figures map[string]*record.Table

// median returns 0 for a figure that was not measured.
func (f figures) median(workload, work, column string, m record.Metric) float64 {
	if t := f[workload]; t != nil {
		return t.Get(work, column, m).Median()
	}
	return 0
}

// goal makes a line: value is 0 if it was not measured, most the highest that is good.
func goal(work, want string, value, most float64, unit string) record.Goal {
	g := record.Goal{Work: work, Want: want}
	if value > 0 {
		g.Now, g.Met = record.Number(value)+unit, value <= most
	}
	return g
}

// ratio is 0 if one of the two was not measured.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// goals returns the summary of the document.
func goals(tables map[string]*record.Table) (all []record.Goal) {
	f := figures(tables)
	for _, some := range [][]record.Goal{f.first(), f.large(), f.many(), f.restores(), f.lookups(), f.compaction()} {
		all = append(all, some...)
	}
	return all
}

func (f figures) first() (g []record.Goal) {
	ours := string(dirStore)
	floor := f.median("peers", firstBackup, "floor", record.CPU)
	g = append(g, goal(small+": server CPU, multiple of the floor", "≤ 2", ratio(f.median("peers", firstBackup, ours, record.CPU), floor), 2, ""))
	for _, k := range []kind{dirStore, minio} {
		g = append(g, goal(small+": wall against Debian's backupd, "+string(k), "≤ 0.05",
			ratio(f.median("small", small, string(k), record.Wall), f.median("small", small, string(debian), record.Wall)), 0.05, ""))
	}
	for _, p := range []string{"restic", "borg"} {
		for _, m := range []record.Metric{record.Wall, record.CPU, record.Kept} {
			v := ratio(f.median("peers", firstBackup, ours, m), f.median("peers", firstBackup, p, m))
			g = append(g, goal(fmt.Sprintf("%s: %s against %s", small, m, p), "< 1", v, 0.9999, ""))
		}
	}
	return g
}

func (f figures) large() []record.Goal {
	million, base, some := count(1_000_000), count(20_000), count(600_000)
	each := func(m record.Metric) float64 {
		return ratio(f.median("scale", inOne, million, m), f.median("scale", inOne, base, m))
	}
	return []record.Goal{
		goal("a message, 1,000,000 in one mailbox against 20,000: server CPU", "≤ 1.2", each(record.CPUEach), 1.2, ""),
		goal("a message, 1,000,000 in one mailbox against 20,000: wall", "≤ 1.2", each(record.WallEach), 1.2, ""),
		goal("peak memory, 1,000,000 records in one APPLY", "≤ 256 MiB", f.median("scale", inOne, million, record.PeakRSS), 256, " MiB"),
		goal("rebuild of a 600,000-message index", "≤ 15 s", f.median("scale", reindexed, some, record.Wall), 15, " s"),
		goal("rebuild of a 600,000-message index: peak memory", "≤ 256 MiB", f.median("scale", reindexed, some, record.PeakRSS), 256, " MiB"),
		goal("list mailboxes of 600,000 messages", "≤ 0.1 s", f.median("scale", listed, some, record.Wall), 0.1, " s"),
		goal("list mailboxes of 600,000 messages: read", "< 1 MB", f.median("scale", listed, some, record.Read), 0.9999, " MB"),
		goal("stat of 600,000 messages: peak memory", "< 128 MiB", f.median("scale", statted, some, record.PeakRSS), 127.9, " MiB"),
		goal("nothing new, 1,000,000 messages", "≤ 10 ms", f.median("scale", again, million, record.WallMs), 10, " ms"),
		goal("index bytes a message, 1,000,000", "≤ 250", f.median("scale", inOne, million, record.IndexEach), 250, ""),
	}
}

func (f figures) many() []record.Goal {
	at := func(work string) float64 { return f.median("users", work, string(minio), record.Wall) }
	column := clientsColumn(64, minio)
	cpu := ratio(f.median("clients", allTogether, floorOfCores, record.ServerCPU), f.median("clients", allTogether, column, record.ServerCPU))
	rate := ratio(f.median("clients", allTogether, floorOfCores, record.Wall), f.median("clients", allTogether, column, record.Wall))
	return []record.Goal{
		goal("ctl_backups list of 1,000 users on MinIO, from the bucket", "≤ 3 s", at(listAll+"from the bucket"), 3, " s"),
		goal("ctl_backups list of 1,000 users on MinIO, daemon running", "≤ 0.2 s", at(listAll+"daemon running"), 0.2, " s"),
		goal("ctl_backups verify -q -A of 1,000 users on MinIO, from the bucket", "≤ 85 s", at(verifyAll+"from the bucket"), 85, " s"),
		atLeast("64 clients to MinIO: speed, part of the floor of all cores", "≥ 0.8", rate, 0.8),
		atLeast("64 clients to MinIO: the floor's CPU, part of the server's", "≥ 0.8", cpu, 0.8),
		goal("64 clients to MinIO: peak memory", "≤ 256 MiB", f.median("clients", allTogether, column, record.PeakRSS), 256, " MiB"),
	}
}

// atLeast makes a line for a value that should be high.
func atLeast(work, want string, value, least float64) record.Goal {
	g := goal(work, want, value, 0, "")
	g.Met = value >= least
	return g
}

func (f figures) restores() (g []record.Goal) {
	for _, k := range []kind{dirStore, minio} {
		v := ratio(f.median("restore", wholeUser, string(k), record.Wall), f.median("restore", wholeUser, string(debian), record.Wall))
		g = append(g, goal("restore of a user into Cyrus from "+string(k)+": wall against Debian's restore", "≤ 0.25", v, 0.25, ""))
	}
	limit := ratio(f.median("restore", wholeUser, string(dirStore), record.Wall), f.median("restore", wholeUser, string(replica), record.Wall))
	g = append(g, goal("restore of a user into Cyrus from directory: wall against a push of the same mail to that Cyrus", "≤ 1", limit, 1, ""))
	for _, p := range []string{"restic", "borg"} {
		for _, k := range []kind{dirStore, minio} {
			other := p
			if p == "restic" && k == minio {
				other = resticOnMinio
			}
			for _, m := range []record.Metric{record.Wall, record.CPU} {
				v := ratio(f.median("peers", toMaildir, string(k), m), f.median("peers", toMaildir, other, m))
				g = append(g, goal(fmt.Sprintf("restore of %s to a Maildir from %s: %s against %s", small, k, m, other), "< 1", v, 0.9999, ""))
			}
		}
	}
	return g
}

func (f figures) lookups() []record.Goal {
	million := count(1_000_000)
	return []record.Goal{
		goal(getUser, "≤ 10 ms", f.median("mailboxes", getUser, string(dirStore), record.WallMs), 10, " ms"),
		goal("RESERVE of 10,000 GUIDs (of 8,192, × 1.22), held, 1,000,000 in the index", "≤ 40 ms",
			f.median("scale", reserveHeld, million, record.WallMs)*10000/reserved, 40, " ms"),
		goal("RESERVE of 10,000 GUIDs (of 8,192, × 1.22), missing, 1,000,000 in the index", "≤ 40 ms", f.median("scale", reserveNew, million, record.WallMs)*10000/reserved, 40, " ms"),
	}
}

func (f figures) compaction() []record.Goal {
	var peak float64
	for _, work := range []string{passFirst, passSame, passFew, passMerge, passLater, passNights} {
		peak = max(peak, f.median("compact", work, string(minio), record.PeakRSS))
	}
	at := func(work string, m record.Metric) float64 { return f.median("compact", work, string(minio), m) }
	return []record.Goal{
		goal("compact of many backups with 10,000 messages each: peak memory", "≤ 256 MiB", peak, 256, " MiB"),
		goal("compact: GETs a changed backup, nothing to merge", "≤ 3", at(passFew, record.GetsEach), 3, ""),
		goal("compact: GETs a changed backup, commits to merge", "≤ 3", at(passMerge, record.GetsEach), 3, ""),
		goal("compact: GETs of all backups together, nothing has changed", "≤ 50", at(passSame, record.Gets), 50, ""),
	}
}
