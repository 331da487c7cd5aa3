package ctlbackups

import (
	"context"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	// statusTime limits status as a whole, and statusPart each request to the daemon and each
	// partition: monitoring waits for half a minute.
	statusTime = 25 * time.Second
	statusPart = 15 * time.Second
	// defaultMaxAge is the default of --max-age.
	defaultMaxAge = 24 * time.Hour
)

// level is how bad something is. It is the exit status of the command.
type level int

const (
	levelOK level = iota
	levelWarning
	levelCritical
)

func (l level) String() string { return [...]string{"ok", "warning", "critical"}[l] }

// MarshalText implements encoding.TextMarshaler.
func (l level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// statusReport is the result of status, in the form of its JSON. The names are stable.
type statusReport struct {
	Status     level               `json:"status"`
	Time       time.Time           `json:"time"`
	Host       string              `json:"host"`
	MaxAge     int64               `json:"max_age"` // seconds
	Problems   []statusProblem     `json:"problems"`
	Daemon     statusDaemon        `json:"daemon"`
	Partitions []statusPartition   `json:"partitions"`
	Servers    []statusServer      `json:"servers"`
	Unknown    int                 `json:"unknown,omitempty"` // backups without a known server
	Behind     []partitions.Behind `json:"behind"`
	Lacking    map[string]int      `json:"lacking,omitempty"` // all of Behind, by reason
	Holds      []statusHold        `json:"holds"`
}

// statusProblem is something that a person has to look at.
type statusProblem struct {
	Level  level  `json:"level"`
	About  string `json:"about"`
	Text   string `json:"text"`
	Action string `json:"action"`
}

// statusHold is a backup on hold.
type statusHold struct {
	Partition string            `json:"partition"`
	Backup    string            `json:"backup"`
	Holds     []repository.Hold `json:"holds"`
}

func (r *statusReport) problem(l level, about, text, action string) {
	r.Problems = append(r.Problems, statusProblem{l, about, text, action})
	r.Status = max(r.Status, l)
}

// status prints whether all is well. It reads no object of a single backup except holds, and ends in
// time whatever a partition does.
func status(c *command) error {
	ctx, cancel := context.WithTimeout(c.ctx, statusTime)
	defer cancel()
	chosen, err := c.chosenPartitions()
	if err != nil {
		return err
	}
	r := &statusReport{Time: c.now, Host: c.host, MaxAge: int64(c.maxAge() / time.Second), Problems: []statusProblem{}, Holds: []statusHold{}}
	parts := c.checkPartitions(ctx, chosen)
	of := c.askDaemon(ctx)
	r.Daemon = of.daemon
	r.Partitions = parts()
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	r.addSet(of.set)
	r.addContacts()
	r.addCosts(c.bucket.Conf.String("backup_prices"))
	c.addHolds(ctx, r, chosen, of.set)
	j := judge{r: r, now: c.now, maxAge: c.maxAge(), retention: retentionPolicy(c.bucket.Conf).Keep > 0}
	j.all(of)
	slices.SortStableFunc(r.Problems, func(a, b statusProblem) int { return int(b.Level - a.Level) })
	if c.structured() {
		err = c.object(r)
	} else {
		err = c.printStatus(r)
	}
	if err == nil && r.Status != levelOK {
		err = cli.ExitError(r.Status)
	}
	return err
}

func (c *command) maxAge() time.Duration {
	if c.age == 0 {
		return defaultMaxAge
	}
	return time.Duration(c.age)
}

// chosenPartitions returns the partitions that the arguments name; all without arguments.
func (c *command) chosenPartitions() ([]repository.Config, error) {
	if len(c.args) == 0 {
		return c.bucket.Partitions, nil
	}
	var out []repository.Config
	for _, name := range c.args {
		i := slices.IndexFunc(c.bucket.Partitions, func(p repository.Config) bool { return p.Name == name })
		if i < 0 {
			return nil, cli.Usagef("%q is not a partition of imapd.conf", name)
		}
		out = append(out, c.bucket.Partitions[i])
	}
	return out, nil
}
