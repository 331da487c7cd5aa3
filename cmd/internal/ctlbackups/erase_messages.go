package ctlbackups

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// checkMessages reads --message.
func (c *command) checkMessages() error {
	for _, text := range c.messages {
		g, err := cyrus.ParseGUID(text)
		if err != nil {
			return cli.Usagef("--message: %q is not a GUID: 40 hex digits, as find and cyr_backup show them", text)
		}
		c.guids = append(c.guids, g)
	}
	slices.SortFunc(c.guids, func(a, b cyrus.GUID) int { return bytes.Compare(a[:], b[:]) })
	c.guids = slices.Compact(c.guids)
	switch {
	case len(c.guids) > history.MaxMessagesPerEvent:
		return cli.Usagef("--message: at most %d messages at a time", history.MaxMessagesPerEvent)
	case len(c.args) > 1:
		return cli.Usagef("--message takes the name of one backup")
	}
	return nil
}

// eraseMessages removes messages from every moment of a backup.
func (c *command) eraseMessages(arg string, t *eraseTotals) error {
	s, o, err := c.messagesSurveyed(arg)
	if err != nil {
		return err
	}
	if s.Held != nil {
		return s.Held
	}
	if c.dryRun {
		return errors.Join(c.showMessages(s), liveError(s))
	}
	if err := c.agreedTo(s.Found, s.Interrupted, s.ListLost); err != nil {
		return err
	}
	if err := liveError(s); err != nil {
		return err
	}
	if erasedBefore(s) {
		return c.showMessages(s)
	}
	if err := c.confirmed(s.Found.Name(), "erase from it", func() error { return c.showMessages(s) }); err != nil {
		return err
	}
	if c.yes {
		if err := c.showMessages(s); err != nil {
			return err
		}
	}
	done, err := erasure.EraseMessages(c.ctx, s, erasure.HistoryOptions{By: c.person(), Reason: c.reason, Forget: o})
	if done != nil {
		t.objects += done.Objects
		t.bytes += done.Bytes
		t.packs += done.Packs
		if perr := c.erasedPart(*done); perr != nil {
			return errors.Join(err, perr)
		}
	}
	if err != nil && !errors.As(err, new(*erasure.SharedError)) {
		return err
	}
	t.backups++
	return errors.Join(err, c.eraseRest(s.Found.Name()))
}

func (c *command) messagesSurveyed(arg string) (found *erasure.MessageSurvey, o maintenance.ForgetOptions, err error) {
	err = c.oneBackup(arg, func(n repository.Name) (*repository.Found, error) {
		s, err := erasure.LookAtMessages(c.ctx, c.bucket.Partitions, n, c.guids, maintenance.RetainOptions{Lock: c.lockOptions("erase")})
		if err != nil {
			return nil, err
		}
		found = s
		return s.Found, nil
	})
	if err == nil {
		o, err = c.forgetOptions(found.Found.Partition)
	}
	return found, o, err
}

// liveError returns an error for each message that the user still has. After an interrupted run, EraseMessages decides: it
// continues, or ends the record of a run that has removed nothing.
func liveError(s *erasure.MessageSurvey) (err error) {
	if s.Interrupted != nil {
		return nil
	}
	for _, m := range s.Messages {
		if len(m.Live) > 0 {
			err = errors.Join(err, &maintenance.LiveError{GUID: m.GUID, Mailboxes: m.Live})
		}
	}
	return err
}

// erasedBefore reports whether nothing is left to erase.
func erasedBefore(s *erasure.MessageSurvey) bool {
	return s.Interrupted == nil && !slices.ContainsFunc(s.Messages, func(m maintenance.FoundMessage) bool { return m.Held || m.Left })
}

// showMessages prints what would be erased.
func (c *command) showMessages(s *erasure.MessageSurvey) error {
	n := s.Found.Name()
	if c.structured() {
		return c.messagesObject(s)
	}
	if err := c.showInterrupted(s.Found, s.Interrupted, s.ListLost); err != nil {
		return err
	}
	for _, m := range s.Messages {
		if _, err := cli.Fprintf(c.out, "erase %s: %s: message %s (%s): %s\n", nameOf(n), place(s.Found), m.GUID, binary(m.Size), messageText(s, &m)); err != nil {
			return err
		}
	}
	return nil
}

// messageText describes what an erasure would do with a message.
func messageText(s *erasure.MessageSurvey, m *maintenance.FoundMessage) string {
	what := "is removed from every moment that the backup can restore; its flags and dates stay, and so do the copies of other users"
	switch {
	case s.Recorded && len(m.Live) > 0:
		return "has arrived again since the interrupted erasure: that copy stays as long as the user has it"
	case len(m.Live) > 0:
		return "the user still has it, in " + strings.Join(m.Live, ", ")
	case m.Left:
		what = fmt.Sprintf("was erased on %s, without the parts that another message had then: these are removed", timespec.Text(m.Erased))
	case !m.Held && s.Interrupted != nil:
		return "no moment has it any more: the rest of its bytes is removed"
	case !m.Held && m.Erased.IsZero():
		return "no moment has its body"
	case !m.Held:
		what = "was erased on " + timespec.Text(m.Erased)
	}
	if m.Shared > 0 {
		what += fmt.Sprintf("; %d of its %s stay, because other messages of the backup have them, too", m.Shared, objects(int64(len(m.Chunks)), "part"))
	}
	return what
}

func (c *command) messagesObject(s *erasure.MessageSurvey) error {
	type message struct {
		GUID   string    `json:"guid"`
		Size   int64     `json:"size"`
		Live   []string  `json:"live"` // mailboxes
		Held   bool      `json:"held"` // a moment has its body
		Erased time.Time `json:"erased,omitzero"`
		Parts  int       `json:"parts"`
		Shared int       `json:"shared"` // parts that other messages have, too
		Left   bool      `json:"left"`   // parts that were shared when it was erased can be removed now
	}
	out := struct {
		Command  string              `json:"command"`
		Name     string              `json:"name"`
		Path     string              `json:"fname"`
		Messages []message           `json:"messages"`
		Record   *repository.Erasure `json:"interrupted,omitempty"`
		ListLost bool                `json:"list_lost,omitempty"`
	}{"erase", nameOf(s.Found.Name()), place(s.Found), []message{}, s.Interrupted, s.ListLost}
	for _, m := range s.Messages {
		out.Messages = append(out.Messages, message{fmt.Sprint(m.GUID), m.Size, append([]string{}, m.Live...), m.Held, m.Erased, len(m.Chunks), m.Shared, m.Left})
	}
	return c.object(out)
}
