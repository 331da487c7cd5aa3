package imapdest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/cyrusbackup/backupd/internal/restore"
)

// Options of a destination.
type Options struct {
	Password    string
	TLS         *tls.Config // nil = the system's authorities
	Parallel    int         // connections; 0 = 1
	NewestFirst bool
	DryRun      bool
	Verbose     int
	Journal     string // directory for the journals of sent messages; "" = none
	// Target returns the name of a mailbox at the destination; nil = its own.
	Target func(string) string
	// For the names of mailboxes in the backup.
	DefaultDomain, DeletedPrefix string
}

// Destination is an account of an IMAP server.
type Destination struct {
	at  *Location
	opt Options
	src *restore.Source
	rep *restore.Report

	behaviour behaviour
	sizes     struct{ asked, wrong atomic.Bool } // whether the server's message sizes can be trusted

	mu     sync.Mutex
	odd    counts            // totals of all folders
	placed map[string]string // folders of the backup, by their names at the server
}

// New returns a destination for messages of src.
func New(src *restore.Source, rep *restore.Report, at *Location, o Options) *Destination {
	return &Destination{at: at, opt: o, src: src, rep: rep, placed: map[string]string{}}
}

// Restore writes the folders and the subscriptions; IMAP has no other account data. Problems
// with one message or one folder go to the Report.
func (d *Destination) Restore(ctx context.Context, folders []*restore.Folder, account *restore.Account) error {
	err := restore.FanOut(ctx, folders, d.opt.Parallel, func(ctx context.Context, _ int, queue <-chan *restore.Folder) error {
		return d.session(ctx, func(s *session) error {
			for f := range queue {
				if err := s.orReport(f, s.folder(ctx, f)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	for _, line := range d.odd.notes() {
		d.rep.Warn("%s: %s", d.at.Addr, line)
	}
	if err != nil || account == nil || d.opt.DryRun {
		return err
	}
	return d.session(ctx, func(s *session) error { return s.subscribe(account) })
}

// session is a connection and the server's naming rules.
type session struct {
	*Destination
	c      *imapclient.Client
	delim  string
	prefix string // of the user's own folders
}

func (d *Destination) session(ctx context.Context, do func(*session) error) error {
	c, err := d.at.connect(d.opt.Password, d.opt.TLS)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	s := &session{Destination: d, c: c, delim: "/"}
	err = s.names()
	if err == nil {
		err = do(s)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return errors.Join(err, c.Close())
	}
	return errors.Join(c.Logout().Wait(), c.Close())
}

// errFolder means that one folder failed; the others can still be restored.
var errFolder = errors.New("the folder is not restored")

// orReport reports a folder that is done or failed. It returns any other error, because that
// concerns the connection.
func (s *session) orReport(f *restore.Folder, err error) error {
	switch {
	case err == nil:
		s.rep.Folder()
		return nil
	case answered(err) != nil, errors.Is(err, errFolder):
		s.rep.Fail(fmt.Errorf("%s: %w", f.Name, err))
		return nil
	}
	return fmt.Errorf("%s: %w", f.Name, err)
}

// names asks for the delimiter and the prefix of the user's own folders.
func (s *session) names() error {
	list, err := s.c.List("", "", nil).Collect()
	if err != nil {
		return err
	}
	if len(list) > 0 && list[0].Delim != 0 {
		s.delim = string(list[0].Delim)
	}
	if !s.c.Caps().Has(imap.CapNamespace) {
		return nil
	}
	ns, err := s.c.Namespace().Wait()
	if err != nil {
		return err
	}
	if len(ns.Personal) > 0 {
		s.prefix = ns.Personal[0].Prefix
	}
	return nil
}

func (s *session) subscribe(a *restore.Account) error {
	for _, own := range a.OwnSubs(s.opt.DefaultDomain, s.opt.DeletedPrefix) {
		if s.opt.Target != nil {
			own = s.opt.Target(own)
		}
		name := s.nameOf(own)
		err := s.c.Subscribe(name).Wait()
		if answered(err) != nil {
			s.rep.Fail(fmt.Errorf("subscribe to %s: the server refuses: %s", name, plain(err)))
		} else if err != nil {
			return err
		}
	}
	return nil
}
