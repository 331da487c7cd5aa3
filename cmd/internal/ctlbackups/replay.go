package ctlbackups

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/ctlbackups/internal/cyrusdata"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// replay sends the lines of one data file over a pipe to backupd's replication server, so
// that they are parsed as they were on the wire.
type replay struct {
	set     *partitions.Set
	session *session.Session
	done    map[repository.Name]int // last line that each backup already has

	line    int // the current line
	conn    net.Conn
	replies *bufio.Reader
	served  chan error
	ended   error // the error with which the session ended the import
}

func startReplay(ctx context.Context, set *partitions.Set, source string) (*replay, error) {
	r := &replay{set: set, session: session.NewImport(set, source), done: map[repository.Name]int{}, served: make(chan error, 1)}
	srv, err := replication.NewServer(replication.Options{
		Backend: r, Authenticator: func() *sasl.Authenticator { return nil }, // nobody logs in over a pipe
	})
	if err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	r.conn, r.replies = here, bufio.NewReader(here)
	go func() { r.served <- srv.ServeConn(ctx, there, replication.ConnOptions{Service: "import", Unix: true}) }()
	return r, r.banner()
}

// NewSession implements replication.Backend.
func (r *replay) NewSession(context.Context, replication.Peer) (replication.Session, error) {
	return &replaySession{Session: r.session, r: r}, nil
}

// banner reads the greeting.
func (r *replay) banner() error {
	_, err := r.reply()
	return err
}

// reply reads up to the last line of an answer.
func (r *replay) reply() (string, error) {
	for {
		text, err := r.replies.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("the server ended: %w", err)
		}
		text = strings.TrimRight(text, "\r\n")
		if strings.HasPrefix(text, "* Fatal error") {
			return text, nil
		}
		if !strings.HasPrefix(text, "* ") || strings.HasPrefix(text, "* OK") {
			return text, nil
		}
	}
}

// apply sends one line to the server. refused is the server's error, if any.
func (r *replay) apply(l cyrusdata.Line) (refused string, err error) {
	r.line = l.Number
	r.session.ImportAt(l.Number, l.Time)
	var text string
	if _, err = l.Body.WriteTo(r.conn); err == nil {
		text, err = r.reply()
	}
	switch {
	case r.ended != nil: // more specific than "pipe closed"
		return "", r.ended
	case err != nil:
		return "", err
	case strings.HasPrefix(text, "OK"):
		return "", nil
	}
	return text, nil
}

func (r *replay) close() error {
	err := r.conn.Close()
	<-r.served // it only reports the closed pipe
	return err
}

// replaySession skips lines that a backup already has from an interrupted import.
type replaySession struct {
	*session.Session
	r *replay
}

// ends records an error that must end the import. After a wrong line, which the server
// reports, the import continues. After a failure of the store it must not: once a later line
// is in the log, the failed line can no longer be added with its time.
func (s *replaySession) ends(err error) error {
	var ofStore *objstore.Error
	switch {
	case errors.Is(err, session.ErrNotImported):
		s.r.ended = err
	case errors.Is(err, cyrus.ErrLocked), errors.Is(err, cyrus.ErrClose), errors.As(err, &ofStore):
		s.r.ended = fmt.Errorf("%w; run the import again: it continues with this line", err)
	}
	return err
}

// wants reports whether the line is new to the backup.
func (s *replaySession) wants(ctx context.Context, n repository.Name) (bool, error) {
	last, known := s.r.done[n]
	if !known {
		var err error
		if last, err = s.Imported(ctx, n); err != nil {
			return false, s.ends(err)
		}
		s.r.done[n] = last
	}
	return s.r.line > last, nil
}

func (s *replaySession) do(ctx context.Context, n repository.Name, fn func() error) error {
	if ok, err := s.wants(ctx, n); !ok || err != nil {
		return err
	}
	return s.ends(fn())
}

func (s *replaySession) user(userid string) repository.Name { return repository.UserName(userid) }
func (s *replaySession) box(name string) repository.Name    { return s.r.set.NameOf(name) }

// Message implements replication.Session. Staged messages are sent again in every import.
func (s *replaySession) Message(ctx context.Context, partition string, guid cyrus.GUID, size int64, body io.Reader) error {
	return s.ends(s.Session.Message(ctx, partition, guid, size, body))
}

func (s *replaySession) ApplyMailbox(ctx context.Context, mb *cyrus.Mailbox, _ cyrus.Since, records iter.Seq2[*cyrus.Record, error]) error {
	ok, err := s.wants(ctx, s.box(mb.Name))
	if err != nil {
		return err
	}
	if ok {
		return s.ends(s.Session.ApplyMailbox(ctx, mb, cyrus.Since{}, records))
	}
	for _, err := range records {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *replaySession) ApplyExpunge(ctx context.Context, name, uniqueid string, uids []uint32) error {
	return s.do(ctx, s.box(name), func() error { return s.Session.ApplyExpunge(ctx, name, uniqueid, uids) })
}

func (s *replaySession) ApplyRename(ctx context.Context, r cyrus.Rename) error {
	return s.do(ctx, s.box(r.New), func() error { return s.Session.ApplyRename(ctx, r) })
}

func (s *replaySession) ApplyUnmailbox(ctx context.Context, name string) error {
	return s.do(ctx, s.box(name), func() error { return s.Session.ApplyUnmailbox(ctx, name) })
}

func (s *replaySession) ApplySeen(ctx context.Context, v cyrus.Seen) error {
	return s.do(ctx, s.user(v.UserID), func() error { return s.Session.ApplySeen(ctx, v) })
}

func (s *replaySession) ApplySub(ctx context.Context, userid, mailbox string, subscribe bool) error {
	return s.do(ctx, s.user(userid), func() error { return s.Session.ApplySub(ctx, userid, mailbox, subscribe) })
}

func (s *replaySession) ApplySieve(ctx context.Context, v cyrus.Sieve) error {
	return s.do(ctx, s.user(v.UserID), func() error { return s.Session.ApplySieve(ctx, v) })
}

func (s *replaySession) ApplyUnsieve(ctx context.Context, userid, filename string) error {
	return s.do(ctx, s.user(userid), func() error { return s.Session.ApplyUnsieve(ctx, userid, filename) })
}

func (s *replaySession) ApplyActivateSieve(ctx context.Context, userid, filename string) error {
	return s.do(ctx, s.user(userid), func() error { return s.Session.ApplyActivateSieve(ctx, userid, filename) })
}

func (s *replaySession) ApplyUnactivateSieve(ctx context.Context, userid string) error {
	return s.do(ctx, s.user(userid), func() error { return s.Session.ApplyUnactivateSieve(ctx, userid) })
}

func (s *replaySession) ApplyQuota(ctx context.Context, q cyrus.Quota) error {
	return s.do(ctx, s.box(q.Root), func() error { return s.Session.ApplyQuota(ctx, q) })
}

func (s *replaySession) ApplyUnquota(ctx context.Context, root string) error {
	return s.do(ctx, s.box(root), func() error { return s.Session.ApplyUnquota(ctx, root) })
}

func (s *replaySession) ApplyAnnotation(ctx context.Context, a cyrus.MailboxAnnotation) error {
	return s.do(ctx, s.box(a.Mailbox), func() error { return s.Session.ApplyAnnotation(ctx, a) })
}

func (s *replaySession) ApplyUnannotation(ctx context.Context, mailbox, entry, userid string) error {
	return s.do(ctx, s.box(mailbox), func() error { return s.Session.ApplyUnannotation(ctx, mailbox, entry, userid) })
}

func (s *replaySession) ApplyUnuser(ctx context.Context, userid string) error {
	return s.do(ctx, s.user(userid), func() error { return s.Session.ApplyUnuser(ctx, userid) })
}
