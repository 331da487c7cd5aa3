package metrics

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/partitions"
)

const (
	// usersAge is how old the metrics of users become. Counting them reads the whole index.
	usersAge = time.Minute
	// mostServers is how many mail servers have their own metrics: the mail servers of the most
	// backups.
	mostServers = 200
)

// users are the metrics of backups and mail servers. None has a label for a user.
type users struct {
	status *reading[*partitions.Status]

	backups, held, contact, change *family
	behind, resync, missing        *family
	counted                        *family
	servers, last, reached         *family
}

func newUsers(c *catalogue, b *background, set *partitions.Set) *users {
	c.begin("Backups")
	x := &users{
		status: newReading(b, "backups", func(*partitions.Status) time.Duration { return usersAge },
			func(context.Context) (*partitions.Status, error) {
				if _, err := set.Counted(); errors.Is(err, partitions.ErrNoCensus) {
					set.BeginCensus()
				}
				return set.Status()
			}),
		backups: c.gauge("backups", "Backups in the partition, as far as this host knows.", "partition"),
		contact: c.histogram("contact_age_seconds",
			"Backups by the time since their mail server was in contact: older changes are in the backup. It is the distribution now; its rate means nothing.", "partition"),
		change:  c.histogram("commit_age_seconds", "Backups by the time since their last change. A quiet user is not in danger. It is the distribution now.", "partition"),
		behind:  c.gauge("behind_backups", "Backups that lack something, by reason: refused (a command, since the last success), resync (mailboxes wait until the mail server sends them completely), missing (bodies that the mail server could not read), compare (a refused change is delivered by the next comparison).", "reason"),
		resync:  c.gauge("resync_mailboxes", "Mailboxes that wait until their mail server sends them completely.", "partition"),
		missing: c.gauge("missing_bodies", "About how many messages have no body, because the mail server could not read it.", "partition"),
		held:    c.gauge("held_backups", "Backups on hold, also by the tripwire.", "partition"),
		counted: c.gauge("backups_read_timestamp_seconds", "When the metrics of backups and mail servers were read from the index: at most once a minute."),
	}
	c.begin("Mail servers")
	x.servers = c.gauge("mail_servers", "Mail servers that have been in contact.")
	x.last = c.gauge("mail_server_last_contact_timestamp_seconds",
		"When a mail server was last in contact. At most 200 mail servers are listed: those of the most backups, and no mail server whose backups another one has taken over.", "mail_server")
	x.reached = c.gauge("mail_server_backups", "Backups that the mail server was the last to reach.", "mail_server")
	return x
}

func (x *users) collect(ch chan<- prometheus.Metric) {
	s, at, ok := x.status.get()
	if !ok {
		return
	}
	x.counted.value(ch, float64(at.Unix()))
	for i := range s.Partitions {
		x.partition(ch, &s.Partitions[i])
	}
	for _, reason := range []string{partitions.BehindRefused, partitions.BehindResync, partitions.BehindMissing, partitions.BehindCompare} {
		x.behind.value(ch, float64(s.Lacking[reason]), reason)
	}
	x.servers.value(ch, float64(len(s.Servers)))
	for _, v := range listed(s.Servers) {
		name := strings.ToValidUTF8(v.Client, "?")
		x.last.value(ch, float64(v.Last.Unix()), name)
		x.reached.value(ch, float64(v.Backups), name)
	}
}

// listed returns the mail servers that have their own metrics.
func listed(all []partitions.ServerStatus) []partitions.ServerStatus {
	out := slices.DeleteFunc(slices.Clone(all), func(s partitions.ServerStatus) bool { return s.Backups == 0 })
	slices.SortStableFunc(out, func(a, b partitions.ServerStatus) int { return b.Backups - a.Backups })
	return out[:min(len(out), mostServers)]
}

func (x *users) partition(ch chan<- prometheus.Metric, p *partitions.PartitionStatus) {
	x.backups.value(ch, float64(p.Backups), p.Name)
	x.held.value(ch, float64(len(p.Held)+p.MoreHeld), p.Name)
	x.resync.value(ch, float64(p.Resync), p.Name)
	x.missing.value(ch, float64(p.Missing), p.Name)
	ages(ch, x.contact, &p.ContactAges, p.Name)
	ages(ch, x.change, &p.ChangeAges, p.Name)
}

func ages(ch chan<- prometheus.Metric, f *family, a *partitions.Ages, partition string) {
	upTo := map[float64]uint64{}
	n := uint64(0)
	for i, bound := range partitions.AgeBounds() {
		n += a.Counts[i]
		upTo[bound.Seconds()] = n
	}
	f.distribution(ch, a.Total(), a.Sum.Seconds(), upTo, partition)
}
