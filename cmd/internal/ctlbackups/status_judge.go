package ctlbackups

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// refusedAge is how long a refusal may last before it is a warning: clients that work on the same
	// user refuse each other for minutes.
	refusedAge = 15 * time.Minute
	// offsetWarning is the difference of clocks that is a warning. From offsetCritical on, S3 refuses
	// requests.
	offsetWarning, offsetCritical = time.Minute, 15 * time.Minute
	// compactAge, verifyAge, drillAge and sealAge are how old the last runs may be.
	compactAge, verifyAge, drillAge, sealAge = 3 * 24 * time.Hour, 35 * 24 * time.Hour, 35 * 24 * time.Hour, 2 * 24 * time.Hour
	// loginsWarning is how many failed logins in half an hour are a warning, as in docs/monitoring/alerts.yml.
	loginsWarning = 10
	// namedUsers is how many users a line names.
	namedUsers = 5
)

// judge finds the problems.
type judge struct {
	r         *statusReport
	now       time.Time
	maxAge    time.Duration
	retention bool
}

func (j *judge) all(of ofDaemon) {
	j.daemon(of)
	for i := range j.r.Partitions {
		j.partition(&j.r.Partitions[i])
	}
	j.drillsStopped()
	for i := range j.r.Servers {
		j.server(&j.r.Servers[i])
	}
	if j.r.Unknown > 0 && len(j.r.Servers) == 0 {
		j.r.problem(levelWarning, "mail servers", objects(int64(j.r.Unknown), "backup")+", and no mail server is known here",
			"check that sync_client runs on the mail servers, and that they reach the port of backupd")
	}
	j.users()
	j.holds()
	if of.set != nil {
		for _, t := range of.set.Troubles {
			j.trouble(t)
		}
	}
}

func (j *judge) daemon(of ofDaemon) {
	d := of.daemon
	switch {
	case d.State == daemonUnreachable:
		j.r.problem(levelWarning, "daemon", "cannot be asked: "+d.Error, "run status as root or as the user of backupd; upgrade backupd if it does not know the operation")
		return
	case d.Daemon == nil:
		return
	case d.State == daemonRunning && !d.Index.Open:
		j.r.problem(levelCritical, "daemon", "its index is closed, and clients are deferred", "look at the last lines of backupd in syslog; usually the disk of backup_index_path needs space")
	case of.err != nil:
		j.r.problem(levelWarning, "daemon", "what it knows about users is unavailable: "+of.err.Error(), "look at the last lines of backupd in syslog")
	}
	if d.State == daemonRunning && d.Index.Free >= 0 && d.Index.Free < 2*d.Index.Reserve {
		j.r.problem(levelWarning, "daemon", fmt.Sprintf("the disk of the index has %s free; below %s (backup_index_reserve) clients are deferred", binary(d.Index.Free), binary(d.Index.Reserve)),
			"free space on the disk of backup_index_path")
	}
	j.logins(d.Daemon)
}

// logins reports failed logins of the last half hour, also those of a daemon that has ended since.
func (j *judge) logins(d *control.Daemon) {
	n, last := d.Logins.Recent, d.Logins.Last
	if n <= loginsWarning || last == nil || j.now.Sub(last.At) > control.RecentLogins {
		return
	}
	as := ""
	if last.User != "" {
		as = " as " + last.User
	}
	j.r.problem(levelWarning, "daemon", fmt.Sprintf("%d logins have failed in half an hour, the last one from %s%s (%s)", n, last.Host, as, last.Result),
		"a mail server has a wrong password, or somebody guesses: look for badlogin in syslog; ctl_backups passwd sets a password")
}

func (j *judge) partition(p *statusPartition) {
	about := "partition " + p.Name
	switch {
	case p.State == partitionUnreachable:
		j.r.problem(levelCritical, about, fmt.Sprintf("%s cannot be read: %s", p.Location, p.Error), "check the store, the network and the keys of the bucket")
		return
	case p.State == partitionEmpty && p.known:
		j.r.problem(levelCritical, about, p.Location+" is empty, and this host has seen a repository there",
			"mount the disk, or correct the location in imapd.conf; nothing is written there until then")
	}
	if off := time.Duration(math.Abs(p.Offset) * float64(time.Second)); off >= offsetWarning {
		l := levelWarning
		if off >= offsetCritical {
			l = levelCritical
		}
		j.r.problem(l, about, fmt.Sprintf("the clocks of the store and of this host differ by %v", off.Round(time.Second)), "correct the wrong clock (NTP)")
	}
	if p.unread != nil {
		j.r.problem(levelWarning, about, "a record for status cannot be read: "+p.unread.Error(), "upgrade this host if a newer one wrote it; otherwise remove the object, which nothing needs")
	}
	j.space(about, p.Space)
	if p.State == partitionOK {
		j.verified(about, p)
		j.drilled(about, p)
		j.compacted(about, p)
		j.sealed(about, p)
	}
}

func (j *judge) space(about string, s *space) {
	if s == nil || s.Total == 0 {
		return
	}
	share := float64(s.Free) / float64(s.Total)
	text := fmt.Sprintf("its disk has %s of %s free", binary(s.Free), binary(s.Total))
	switch action := "free space, enlarge the disk, or move users to another partition (ctl_backups move)"; {
	case share < 0.02 && s.Free < 10<<30:
		j.r.problem(levelCritical, about, text, action)
	case share < 0.1 && s.Free < 100<<30:
		j.r.problem(levelWarning, about, text, action)
	}
}

// old reports whether something that a person or a timer does has not been done for too long. never is
// when it could have been done first.
func (j *judge) old(last, never time.Time, most time.Duration) bool {
	return j.now.Sub(newer(last, never)) > most
}

func (j *judge) verified(about string, p *statusPartition) {
	last := p.Runs[repository.RunVerify]
	for _, r := range []*repository.Run{last, p.Runs[repository.RunPart], p.Runs[repository.RunQuick]} {
		if r != nil && r.Result == repository.RunFailed {
			j.r.problem(levelCritical, about, fmt.Sprintf("%s at %s has found problems in %s of %d", r.Command, timespec.Text(r.Ended), objects(int64(r.Failed), "backup"), r.Backups),
				"ctl_backups verify -A prints them; ctl_backups verify --repair (docs/damage.md)")
			return
		}
	}
	var at time.Time
	when := "never"
	if last != nil {
		at, when = last.Ended, "not since "+timespec.Text(last.Ended)
	}
	if j.old(at, p.Created, verifyAge) {
		j.r.problem(levelWarning, about, "every message was read and checked "+when, "run ctl_backups verify -A every month, or verify --read 5% every night")
	}
}

// drilled reports a drill that has failed, or did not come to its end.
func (j *judge) drilled(about string, p *statusPartition) {
	r := p.Runs[repository.RunDrill]
	switch {
	case r == nil:
	case r.Result == repository.RunFailed:
		text := fmt.Sprintf("drill at %s could not restore everything of %s of %d", timespec.Text(r.Ended), objects(int64(r.Failed), "backup"), r.Backups)
		if r.Error != "" {
			text += "; " + r.Error
		}
		j.r.problem(levelCritical, about, text,
			"ctl_backups verify -A prints the damage; ctl_backups verify --repair (docs/damage.md); then run ctl_backups drill again")
	case r.Result == repository.RunIncomplete && r.Server != "" && r.Error != "":
		j.r.problem(levelWarning, about, fmt.Sprintf("drill at %s could not use the server %s: %s", timespec.Text(r.Ended), r.Server, r.Error),
			"correct that, or name another server; then run ctl_backups drill --to again")
	case r.Result == repository.RunIncomplete:
		j.r.problem(levelWarning, about, fmt.Sprintf("drill at %s was interrupted", timespec.Text(r.Ended)),
			"run ctl_backups drill again; if a timer ends it, give it more time or fewer backups")
	}
}

// drillsStopped reports that drills no longer take place. Nobody has to run the first one. One partition
// with a new drill is enough: a drill draws backups of all of them, and records nothing in a partition
// of which it has drawn none.
func (j *judge) drillsStopped() {
	var last time.Time
	for i := range j.r.Partitions {
		if r := j.r.Partitions[i].Runs[repository.RunDrill]; r != nil {
			last = newer(last, r.Ended)
		}
	}
	if !last.IsZero() && j.now.Sub(last) > drillAge {
		j.r.problem(levelWarning, "drills", "no drill has ended since "+timespec.Text(last),
			"run ctl_backups drill every night or every month; if something starts it, look whether it still runs, and into syslog")
	}
}

// sealed judges the signed lists, if this partition has any.
func (j *judge) sealed(about string, p *statusPartition) {
	const action = "ctl_backups verify --seals prints what; then backup-runbook(7), \"The bucket may have been tampered with\""
	for _, command := range []string{repository.RunSeal, repository.RunVerifySeals} {
		clean := p.Runs[repository.RunSeal]
		if r := p.Runs[command]; r != nil && r.Failed > 0 {
			if clean != nil && clean.Failed == 0 && clean.Result == repository.RunOK && clean.Ended.After(r.Ended) {
				continue // accepted or mended since
			}
			j.r.problem(levelCritical, about, fmt.Sprintf("%s at %s has found %s: something was rewritten, removed or could not be read", command, timespec.Text(r.Ended), objects(int64(r.Failed), "problem")), action)
			return
		}
	}
	last := p.Runs[repository.RunSeal]
	switch {
	case last == nil:
	case last.Result == repository.RunFailed:
		j.r.problem(levelWarning, about, fmt.Sprintf("seal at %s has failed: %s", timespec.Text(last.Ended), last.Error), "run ctl_backups seal -A again; it continues")
	case j.old(last.Ended, time.Time{}, sealAge):
		j.r.problem(levelWarning, about, "there is no signed list since "+timespec.Text(last.Ended), "run ctl_backups seal -A every night")
	}
}

func (j *judge) compacted(about string, p *statusPartition) {
	last := p.Runs[repository.RunCompact]
	if last != nil && last.Result == repository.RunFailed {
		text := fmt.Sprintf("compact at %s has failed for %s of %d", timespec.Text(last.Ended), objects(int64(last.Failed), "backup"), last.Backups)
		if last.Error != "" {
			text += ": " + last.Error
		}
		j.r.problem(levelWarning, about, text, "run ctl_backups compact -A, and read its messages")
		return
	}
	var at time.Time
	when := "never"
	if last != nil {
		at, when = last.Ended, "not since "+timespec.Text(last.Ended)
	}
	if j.old(at, p.Created, compactAge) {
		text := "old changes were merged " + when
		if j.retention {
			text += ", and nothing is removed by backup_retention"
		}
		j.r.problem(levelWarning, about, text, "run ctl_backups compact -A every night")
	}
}

func (j *judge) server(s *statusServer) {
	j.outside(s)
	j.unlisted(s)
	if j.now.Sub(s.Last) <= j.maxAge || s.Backups != nil && *s.Backups == 0 {
		return
	}
	users := "its backups may be out of date"
	if s.Backups != nil {
		users = objects(int64(*s.Backups), "backup") + " may be out of date"
	}
	j.r.problem(levelCritical, "mail server "+s.Client, fmt.Sprintf("no contact since %s: %s", timespec.Text(s.Last), users),
		"check sync_client, its log directory and the network there; if the server is gone for good: ctl_backups forget-server '"+s.Client+"'")
}

// outside reports a mail server that sends backups outside the scope of its login: those of backups that
// are stored show nothing. It is critical if none of its backups is stored here.
func (j *judge) outside(s *statusServer) {
	if s.Refused == nil || s.Refused.Kind != partitions.RefusedOutside || j.now.Sub(s.Refused.At) > j.maxAge {
		return
	}
	l := levelWarning
	if s.Backups != nil && *s.Backups == 0 {
		l = levelCritical
	}
	j.r.problem(l, "mail server "+s.Client, fmt.Sprintf("it sends backups outside the scope of its login, the last one at %s: %s", timespec.Text(s.Refused.At), s.Refused.Error), s.Refused.Action)
}

// unlisted reports a mail server with so many refused users without a backup that others are not listed.
func (j *judge) unlisted(s *statusServer) {
	if s.Unlisted {
		j.r.problem(levelWarning, "mail server "+s.Client, "so many users without a backup are refused that others may be missing in this list",
			"mend what refuses them; a name that no mail server asks for is forgotten after a week")
	}
}

// users reports the backups that lack something, in one line for each reason.
func (j *judge) users() {
	for _, why := range []string{partitions.BehindRefused, partitions.BehindResync, partitions.BehindMissing, partitions.BehindCompare} {
		var names []string
		l, action := levelOK, ""
		left := j.r.Lacking[why] // that are not listed
		for _, b := range j.r.Behind {
			if b.Why != why {
				continue
			}
			left--
			if bad, todo := j.user(&b); bad > levelOK {
				names = append(names, behindName(&b))
				if bad > l || action == "" {
					l, action = bad, todo
				}
			}
		}
		if len(names) == 0 {
			continue
		}
		n := len(names) + max(0, left)
		j.r.problem(l, "users", fmt.Sprintf("%s %s: %s", objects(int64(n), "backup"), reasons()[why], someOf(names)), action)
	}
}

// behindName names a backup in output.
func behindName(b *partitions.Behind) string {
	return strings.TrimPrefix(b.Path, repository.KindUser+"/")
}

func reasons() map[string]string {
	return map[string]string{
		partitions.BehindRefused: "refused since the last success",
		partitions.BehindResync:  "waiting for a complete mailbox",
		partitions.BehindMissing: "without bodies that the mail server could not read",
		partitions.BehindCompare: "waiting for a comparison after a refusal",
	}
}

// user decides about a backup that lacks something.
func (j *judge) user(b *partitions.Behind) (l level, action string) {
	switch b.Why {
	case partitions.BehindRefused:
		switch age := j.now.Sub(b.Since); {
		case age > j.maxAge:
			l = levelCritical
		case age > refusedAge:
			l = levelWarning
		}
		if action = b.Action; action == "" {
			action = "look for the backup in syslog of the backup host; another client may work on it (busy)"
		}
		return l, action
	case partitions.BehindMissing:
		return levelWarning, "repair the spool file on the mail server (reconstruct -G); the client is asked again once a day"
	}
	return levelWarning, "nothing, if the client works on it now; otherwise run sync_client -u USER on the mail server"
}

func someOf(names []string) string {
	if len(names) > namedUsers {
		return strings.Join(names[:namedUsers], ", ") + fmt.Sprintf(" and %d more", len(names)-namedUsers)
	}
	return strings.Join(names, ", ")
}

func (j *judge) holds() {
	var names []string
	for _, h := range j.r.Holds {
		for _, x := range h.Holds {
			if x.Kind == repository.HoldTripwire {
				names = append(names, strings.TrimPrefix(h.Backup, repository.KindUser+"/"))
				break
			}
		}
	}
	if len(names) > 0 {
		j.r.problem(levelWarning, "users", fmt.Sprintf("%s lost much mail at once (tripwire): %s", objects(int64(len(names)), "backup"), someOf(names)),
			"find out whether that was on purpose; then ctl_backups release USER, or restore")
	}
}

// trouble reports a trouble of a partition, or of a backup that no refused user shows.
func (j *judge) trouble(t partitions.TroubleText) {
	if t.Partition != "" {
		if j.r.has(t.Partition) {
			j.r.problem(levelCritical, "partition "+t.Partition, fmt.Sprintf("backupd cannot use it since %s (%s): %s", timespec.Text(t.Since), t.Kind, t.Error), t.Action)
		}
		return
	}
	for _, b := range j.r.Behind {
		if b.Path == t.Backup && b.Why == partitions.BehindRefused {
			return
		}
	}
	j.r.problem(levelWarning, "backup "+t.Backup, fmt.Sprintf("cannot be used since %s (%s): %s", timespec.Text(t.Since), t.Kind, t.Error), t.Action)
}
