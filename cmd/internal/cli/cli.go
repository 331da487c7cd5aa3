// Package cli has the common parts of the administrator's tools: exit statuses, and the names
// of backups on the command line.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cmdline"
	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Exit statuses of Cyrus's tools (sysexits.h).
const (
	ExitOK          = 0
	ExitUsage       = 64 // the command line is wrong
	ExitTemporary   = 75 // something failed; the message names it
	ExitConfig      = 78 // imapd.conf has an error
	ExitInterrupted = 130
)

// Statuses describes the exit statuses.
func Statuses() []cmdline.Status {
	return []cmdline.Status{
		{Code: ExitOK, Text: "success"},
		{Code: ExitUsage, Text: "the command line is wrong; nothing was done"},
		{Code: ExitTemporary, Text: "something failed, was locked or was not found: standard error has a line for each"},
		{Code: ExitConfig, Text: "imapd.conf has an error: the message names file, line and option"},
		{Code: ExitInterrupted, Text: "interrupted by SIGINT or SIGTERM"},
	}
}

// UsageError reports a wrong command line.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// ConfigError reports an error in imapd.conf.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// ErrReported ends a program that has already written its errors.
var ErrReported = errors.New("reported")

// Main runs a tool and returns its exit status. The context ends with SIGINT and SIGTERM.
func Main(name, usage string, stderr io.Writer, run func(context.Context) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx)
	messages := Messages(stderr)
	var u *UsageError
	var c *ConfigError
	var exit ExitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &u):
		fmt.Fprintf(messages, "%s: %v\n", name, err)
		fmt.Fprint(stderr, usage)
		return ExitUsage
	case errors.Is(err, ErrReported):
		return ExitTemporary
	case ctx.Err() != nil:
		fmt.Fprintf(messages, "%s: interrupted\n", name)
		return ExitInterrupted
	}
	fmt.Fprintf(messages, "%s: %v\n", name, err)
	if errors.As(err, &c) {
		return ExitConfig
	}
	return ExitTemporary
}

// Bucket is the set of configured partitions, opened by a tool.
type Bucket struct {
	Conf       *imapconf.File
	Partitions []repository.Config
	asked      []*askedOnce // their stores
	warned     map[string]bool
	closer     io.Closer
}

// NewBucket makes a Bucket of partitions; the caller closes them.
func NewBucket(conf *imapconf.File, parts []repository.Config) *Bucket {
	b := &Bucket{Conf: conf, warned: map[string]bool{}}
	for _, p := range parts {
		s := &askedOnce{Store: p.Store, p: p}
		p.Store = s
		b.asked, b.Partitions = append(b.asked, s), append(b.Partitions, p)
	}
	return b
}

// Open reads imapd.conf and opens its partitions for reading: it creates nothing, because an
// administrator may run a tool as root before the server has made its directories. If one of several
// partitions cannot be opened, the Bucket contains it, and its operations fail.
func Open(ctx context.Context, config, tool string) (*Bucket, error) {
	return open(ctx, config, tool, true)
}

// OpenToWrite is Open for tools that change backups.
func OpenToWrite(ctx context.Context, config, tool string) (*Bucket, error) {
	return open(ctx, config, tool, false)
}

func open(ctx context.Context, config, tool string, readOnly bool) (*Bucket, error) {
	conf, err := imapconf.Load(config, tool)
	if err != nil {
		return nil, &ConfigError{err}
	}
	parts, closer, err := stores.Open(ctx, conf, stores.Options{Tolerant: true, ReadOnly: readOnly})
	if err != nil {
		return nil, &ConfigError{err}
	}
	b := NewBucket(conf, parts)
	b.closer = closer
	return b, nil
}

// OpenSoon is Open for a program that must end soon, and creates nothing: a partition that cannot be
// opened within seconds fails, and so do its requests.
func OpenSoon(ctx context.Context, config, tool string) (*Bucket, error) {
	conf, err := imapconf.Load(config, tool)
	if err != nil {
		return nil, &ConfigError{err}
	}
	parts, closer, err := stores.Open(ctx, conf, stores.Options{Later: true, ReadOnly: true, Retry: 2 * time.Second, Hang: 5 * time.Second})
	if err != nil {
		return nil, &ConfigError{err}
	}
	b := NewBucket(conf, parts)
	b.closer = closer
	return b, nil
}

// Close closes the partitions that Open opened.
func (b *Bucket) Close() error {
	if b.closer == nil {
		return nil
	}
	return b.closer.Close()
}

// Opener is Open, or a replacement in tests.
type Opener func(ctx context.Context, config, tool string) (*Bucket, error)

// Mode is how an argument names a backup.
type Mode int

// The modes of Cyrus Backups that name one backup.
const (
	ByUser    Mode = iota // -u: a userid
	ByMailbox             // -m: a mailbox, as an administrator writes it
	ByPath                // -f: the path below backups/, such as user/anne
)

// Find looks a backup up by an argument.
func (b *Bucket) Find(ctx context.Context, m Mode, arg string) (*repository.Found, error) {
	if arg == "" {
		return nil, Usagef("the name of a backup is empty")
	}
	switch m {
	case ByPath:
		return b.findPath(ctx, arg)
	case ByMailbox:
		return b.findMailbox(ctx, arg)
	}
	return b.findUser(ctx, arg)
}

// findMailbox finds the backup of the first mailbox that the argument may mean. If none has a
// backup, the error is about the likeliest.
func (b *Bucket) findMailbox(ctx context.Context, arg string) (*repository.Found, error) {
	var none error
	for _, n := range b.ofMailbox(arg) {
		f, err := repository.Find(ctx, b.Partitions, n)
		if !errors.Is(err, repository.ErrNoBackup) && !errors.Is(err, repository.ErrUnknown) {
			return f, err
		}
		if none == nil {
			none = err
		}
	}
	return nil, none
}

// ofMailbox returns the names of the backups that a mailbox argument may mean, the likeliest
// first.
func (b *Bucket) ofMailbox(arg string) []repository.Name {
	var out []repository.Name
	for _, name := range stores.AdminForm(b.Conf).Candidates(arg) {
		if n := stores.Names(b.Conf).Of(name); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// Leftover finds what a move may have left: it returns the backup in the first partition that
// has objects of it.
func (b *Bucket) Leftover(ctx context.Context, m Mode, arg string) (*repository.Found, error) {
	if arg == "" {
		return nil, Usagef("the name of a backup is empty")
	}
	parts, path := b.Partitions, ""
	switch m {
	case ByPath:
		parts, path = b.Path(arg)
	case ByMailbox:
		f, err := b.findMailbox(ctx, arg)
		if err == nil {
			return f, nil
		}
		path = b.ofMailbox(arg)[0].Path()
	default:
		path = repository.UserName(arg).Path()
	}
	return repository.FindAny(ctx, parts, path)
}

// Name returns the name of the backup that an argument means, whether the backup exists or not.
// Paths mean existing backups only.
func (b *Bucket) Name(m Mode, arg string) (repository.Name, error) {
	switch m {
	case ByMailbox:
		return b.ofMailbox(arg)[0], nil
	case ByPath:
		return repository.Name{}, Usagef("%s: backups are created for a userid or a mailbox, not for a path", arg)
	}
	return repository.UserName(arg), nil
}

// InDomain reports whether a userid belongs to a domain. Userids without a domain belong to
// the default domain.
func InDomain(userid, domain, defaultDomain string) bool {
	_, its, has := strings.Cut(userid, "@")
	if !has {
		its = defaultDomain
	}
	return its == domain
}
