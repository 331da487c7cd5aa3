package ctlbackups

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// forgetAge is how long a mail server must have been silent: the daemon of another host puts a younger
// contact into the bucket again.
const forgetAge = time.Hour

// goneServer is a mail server that backup hosts know.
type goneServer struct {
	client  string
	last    time.Time // contact with any host
	hosts   map[string]bool
	backups int // that it has reached last, as this host knows
}

// forgetServers removes mail servers that are gone for good from what status shows.
func forgetServers(c *command) error {
	known, err := c.knownServers()
	if err != nil {
		return err
	}
	failed := false
	for _, arg := range c.args {
		s, err := chooseServer(known, arg)
		if err == nil {
			err = c.forgetServer(s)
		}
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if err != nil {
			failed = true
			cli.Fprintf(c.err, "ctl_backups: forget-server %s: %v\n", arg, err)
		}
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

// knownServers returns the mail servers that this host, or a host with an object in a bucket, knows.
func (c *command) knownServers() (map[string]*goneServer, error) {
	out := map[string]*goneServer{}
	note := func(client, host string, last time.Time) *goneServer {
		s := out[client]
		if s == nil {
			s = &goneServer{client: client, hosts: map[string]bool{}}
			out[client] = s
		}
		s.hosts[host], s.last = true, newer(s.last, last)
		return s
	}
	of := c.askDaemon(c.ctx)
	if of.err != nil {
		return nil, of.err
	}
	if of.set != nil {
		for _, v := range of.set.Servers {
			note(v.Client, c.host, v.Last).backups = v.Backups
		}
	}
	for _, p := range c.bucket.Partitions {
		for k, err := range repository.Contacts(c.ctx, p.Store) {
			if repository.IsStoreError(err) {
				return nil, fmt.Errorf("partition %s: %w", p.Name, err)
			}
			if err == nil {
				note(k.Client, k.Host, k.Last)
			}
		}
	}
	return out, nil
}

// chooseServer returns the mail server that an argument means: the whole name, or a word of it that no other
// one has, such as its address.
func chooseServer(known map[string]*goneServer, arg string) (*goneServer, error) {
	if s := known[arg]; s != nil {
		return s, nil
	}
	var fit []string
	for _, client := range slices.Sorted(maps.Keys(known)) {
		if slices.ContainsFunc(strings.Fields(client), func(word string) bool { return strings.Trim(word, "[]") == strings.Trim(arg, "[]") }) {
			fit = append(fit, client)
		}
	}
	switch {
	case len(fit) == 1:
		return known[fit[0]], nil
	case len(fit) > 1:
		return nil, fmt.Errorf("it may mean %s: give the whole name, as one argument", quoted(fit))
	case len(known) == 0:
		return nil, errors.New("not found: no mail server is known")
	}
	return nil, fmt.Errorf("not found: the known mail servers are %s", quoted(slices.Sorted(maps.Keys(known))))
}

func quoted(names []string) string {
	for i, n := range names {
		names[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(names, ", ")
}

// forgetServer forgets one. The index is first: as long as it has the mail server, the daemon may put it into
// the bucket again.
func (c *command) forgetServer(s *goneServer) (err error) {
	if age := c.now.Sub(s.last); age >= 0 && age < forgetAge {
		return fmt.Errorf("%s was in contact at %s, and a mail server that comes back is known again: stop its sync_client, and repeat this an hour later", s.client, timespec.Text(s.last))
	}
	if c.dryRun {
		return c.printForgotten(s, 0)
	}
	defer func() { c.audit.Done(c.bucket.Conf, "forget-server", err, "what", s.client) }()
	if err := c.forgetInIndex(s.client); err != nil {
		return err
	}
	objects := 0
	for _, p := range c.bucket.Partitions {
		hosts, err := repository.ForgetClient(c.ctx, p.Store, s.client)
		if objects += len(hosts); err != nil {
			return fmt.Errorf("partition %s: %w", p.Name, err)
		}
	}
	return c.printForgotten(s, objects)
}

// forgetInIndex forgets a mail server in the index of this host. Without a running daemon it also changes
// what the last one has left for status.
func (c *command) forgetInIndex(client string) error {
	r, err := control.Ask(c.ctx, c.bucket.Conf.String("backup_control_socket"), control.Request{Op: "forget-server", Client: client})
	switch {
	case err == nil && r.Error != "":
		return errors.New("backupd: " + r.Error)
	case !errors.Is(err, control.ErrNoDaemon):
		return err
	}
	path := c.bucket.Conf.String("backup_index_path")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	set, end, err := c.openHere()
	if err != nil {
		return err
	}
	defer end()
	if err := set.ForgetServer(c.ctx, client); err != nil {
		return err
	}
	left, err := control.ReadStatus(control.StatusPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := set.Status()
	if err != nil {
		return err
	}
	if left.Set, err = json.Marshal(now); err != nil {
		return err
	}
	return control.WriteStatus(control.StatusPath(path), left)
}

// printForgotten prints the result for a mail server.
func (c *command) printForgotten(s *goneServer, removed int) error {
	word := "ok"
	if c.dryRun {
		word = "would be forgotten"
	}
	delete(s.hosts, "")
	others := maps.Clone(s.hosts)
	delete(others, c.host)
	if c.structured() {
		return c.object(struct {
			Command string    `json:"command"`
			Client  string    `json:"client"`
			Status  string    `json:"status"`
			Last    time.Time `json:"last"`
			Hosts   []string  `json:"hosts"`
			Backups int       `json:"backups"`
			Objects int       `json:"objects"`
		}{"forget-server", s.client, word, s.last, slices.AppendSeq([]string{}, maps.Keys(s.hosts)), s.backups, removed})
	}
	_, err := cli.Fprintf(c.out, "forget-server %s: %s\n  last contact %s; %s\n", s.client, word, timespec.Text(s.last), c.keptOf(s))
	for _, host := range slices.Sorted(maps.Keys(others)) {
		if err == nil {
			_, err = cli.Fprintf(c.out, "  the index of %s may know it, too: run the same command there\n", host)
		}
	}
	return err
}

func (c *command) keptOf(s *goneServer) string {
	if s.backups == 0 {
		return "no backup belongs to it"
	}
	return objects(int64(s.backups), "backup") + " of it, which stay"
}
