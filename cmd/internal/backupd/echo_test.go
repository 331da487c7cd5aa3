package backupd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
)

// echo is a service with a line protocol instead of replication. It reports the serving process
// and its options, and waits for the index like a first command.
type echo struct {
	env  environment
	conf atomic.Pointer[imapconf.File]
	lock *os.File
}

func newEcho(env environment) (service, error) {
	if _, ok := env.conf.Lookup("backuppartition-default"); !ok {
		return nil, errors.New("backuppartition-default: is not set")
	}
	e := &echo{env: env}
	e.conf.Store(env.conf)
	return e, nil
}

func (e *echo) Index() string { return e.env.conf.String("backup_index_path") }

func (e *echo) Fingerprint() string { return fingerprintOf(e.env.conf) }

func fingerprintOf(conf *imapconf.File) string {
	p, _ := conf.Lookup("backuppartition-default")
	return p
}

// Stays is as in the real service.
func (e *echo) Stays() bool { return e.env.conf.String("backup_metrics_listen") != "" }

// Open takes a separate lock, which detects two owners at once.
func (e *echo) Open(context.Context) error {
	if err := os.MkdirAll(e.Index(), 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(e.Index(), "broken")); err == nil {
		return errors.New("the index is broken")
	}
	f, err := os.OpenFile(filepath.Join(e.Index(), "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	e.lock = f
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// Close never returns if there is a file "stuck" in the index.
func (e *echo) Close() error {
	if _, err := os.Stat(filepath.Join(e.Index(), "stuck")); err == nil {
		select {}
	}
	return e.lock.Close()
}

func (e *echo) Reload(_ context.Context, conf *imapconf.File) error {
	if fingerprintOf(conf) != e.Fingerprint() {
		return master.ErrRecycle
	}
	e.conf.Store(conf)
	return nil
}

func (e *echo) Serve(ctx context.Context, c *master.Conn, index func(context.Context) error, draining <-chan struct{}) {
	id := fmt.Sprintf("%p", c)
	e.env.observe(connection{id: id, host: c.Peer})
	defer e.env.observe(connection{id: id, host: c.Peer, ended: true})
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if e.bye(c) {
		return
	}
	c.LoggedIn() // there is no login
	fmt.Fprintf(c, "* HELLO %d %s %v %v %d %s %s\r\n", os.Getpid(), c.Service, c.TLS, c.NoAuth, c.SSF, c.Kind, c.Peer)
	lines := bufio.NewReader(c)
	for {
		if e.bye(c) {
			return
		}
		line, err := readCommand(lines, c, draining)
		if err != nil {
			if errors.Is(err, errDraining) {
				fmt.Fprint(c, "* BYE draining\r\n")
			}
			return
		}
		if !e.command(ctx, line, lines, c, index, id) {
			return
		}
	}
}

func (e *echo) bye(c *master.Conn) bool {
	message, down := master.ShutdownMessage(e.env.conf.String("configdirectory"), c.Service)
	if down {
		fmt.Fprintf(c, "* BYE %s\r\n", message)
	}
	return down
}

func (e *echo) command(ctx context.Context, line string, lines *bufio.Reader, c *master.Conn, index func(context.Context) error, id string) bool {
	switch word, rest, _ := strings.Cut(line, " "); word {
	case "LOGIN":
		e.env.observe(connection{id: id, host: c.Peer, user: rest})
		fmt.Fprint(c, "OK\r\n")
	case "INDEX":
		if err := index(ctx); err != nil {
			fmt.Fprintf(c, "NO %v\r\n", err)
			return false
		}
		fmt.Fprintf(c, "OK %d\r\n", os.Getpid())
	case "CONF":
		value, _ := e.conf.Load().Lookup(rest)
		fmt.Fprintf(c, "OK %s\r\n", value)
	case "LITERAL": // a command that waits for its literal
		fmt.Fprint(c, "+ go on\r\n")
		if _, err := lines.ReadString('\n'); err != nil {
			return false
		}
		fmt.Fprint(c, "OK stored\r\n")
	case "FAULT":
		var nothing *echo
		nothing.lock.Close()
	case "EXIT":
		return false
	default:
		fmt.Fprintf(c, "OK %s\r\n", line)
	}
	return true
}

var errDraining = errors.New("draining")

// readCommand reads a line, unless draining begins before its first byte arrives.
func readCommand(r *bufio.Reader, c *master.Conn, draining <-chan struct{}) (string, error) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-draining:
			_ = c.SetReadDeadline(time.Unix(1, 0))
		case <-done:
		}
	}()
	line, err := r.ReadString('\n')
	close(done)
	<-stopped
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", errDraining
	}
	_ = c.SetReadDeadline(time.Time{})
	return strings.TrimRight(line, "\r\n"), err
}

func stderrLogger(name string, _ *imapconf.File) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("service", name)
}
