package imapdest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"backupd/internal/restore"
	"backupd/replication/cyrus"
)

// name is a mailbox's name at the server.
func (s *session) name(internal string) string {
	parts := restore.Path(internal, s.opt.DefaultDomain, s.opt.DeletedPrefix)
	if s.at.Folder != "" {
		parts = append(strings.Split(s.at.Folder, "/"), parts...)
	}
	if len(parts) == 0 {
		return "INBOX"
	}
	if s.prefix == "" && strings.EqualFold(parts[0], "INBOX") {
		parts[0] += "_" // else it would be the mailbox above it
	}
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(p, s.delim, "_")
	}
	return s.prefix + strings.Join(parts, s.delim)
}

// batch is how many messages are looked up before they are read.
const batch = 1024

func (s *session) folder(ctx context.Context, f *restore.Folder) error {
	name := s.name(f.Name)
	exists, err := s.create(name)
	if err != nil {
		return err
	}
	have := there{}
	if exists {
		if have, err = s.look(name); err != nil {
			return err
		}
	}
	refs := slices.Clone(f.Messages)
	if s.opt.NewestFirst {
		slices.Reverse(refs)
	}
	added := 0
	for some := range slices.Chunk(refs, batch) {
		n, err := s.batch(ctx, name, some, have)
		added += n
		if err != nil {
			return err
		}
	}
	if s.opt.DryRun {
		s.rep.Say("%s: %d messages would be appended to %s, %d are there", f.Name, added, name, len(refs)-added)
		return nil
	}
	s.rep.Say("%s: %d messages appended to %s, %d were there", f.Name, added, name, len(refs)-added)
	return nil
}

func (s *session) batch(ctx context.Context, name string, refs []restore.Ref, have there) (added int, err error) {
	var msgs []*restore.Message
	var guids []cyrus.GUID
	for _, ref := range refs {
		m, err := s.src.Message(ref)
		if err != nil {
			return 0, err
		}
		if s.opt.DryRun && len(have) == 0 { // nothing to compare with
			s.rep.Added(1, int64(m.Size))
			added++
			continue
		}
		msgs, guids = append(msgs, m), append(guids, m.GUID)
	}
	i := 0
	for l := range s.src.LoadAll(ctx, guids) {
		m := msgs[i]
		i++
		if l.Err != nil {
			if l.Ends() {
				return added, fmt.Errorf("reading the backup: %w", l.Err)
			}
			s.rep.Fail(fmt.Errorf("%s: uid %d: %w", name, m.UID, l.Err))
			continue
		}
		done, err := s.one(name, m, l.Body, have)
		if closed := l.Body.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return added, err
		}
		if done {
			added++
		}
	}
	return added, ctx.Err()
}

// one appends a message unless it is there. What the server does not take is reported.
func (s *session) one(name string, m *restore.Message, b *restore.Body, have there) (added bool, err error) {
	id, err := messageID(b)
	if err != nil {
		return false, err
	}
	if have.take(id, b.Size, m.InternalDate) {
		s.rep.There(1, b.Size)
		return false, nil
	}
	if s.opt.DryRun {
		s.rep.Added(1, b.Size)
		return true, nil
	}
	flags := flagsOf(m.Flags)
	err = s.append(name, m, b, flags)
	var refused *imap.Error
	if errors.As(err, &refused) && len(flags) > 0 {
		// Some servers know no keywords of users: the message counts for more.
		err = s.append(name, m, b, systemOnly(flags))
	}
	if errors.As(err, &refused) && refused.Type != imap.StatusResponseTypeBye {
		s.rep.Fail(fmt.Errorf("%s: uid %d (message %s): %w", name, m.UID, m.GUID, err))
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.rep.Added(1, b.Size)
	return true, nil
}

func (s *session) append(name string, m *restore.Message, b *restore.Body, flags []imap.Flag) error {
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return err
	}
	cmd := s.c.Append(name, b.Size, &imap.AppendOptions{Flags: flags, Time: time.Unix(m.InternalDate, 0)})
	_, err := io.Copy(cmd, b)
	if closed := cmd.Close(); err == nil {
		err = closed
	}
	_, waited := cmd.Wait()
	var refused *imap.Error
	if errors.As(waited, &refused) || err == nil {
		return waited // why the server did not want to read on says more
	}
	return err
}

func flagsOf(flags []string) []imap.Flag {
	var out []imap.Flag
	for _, f := range flags {
		if !strings.EqualFold(f, `\Recent`) && !strings.EqualFold(f, `\Expunged`) {
			out = append(out, imap.Flag(f))
		}
	}
	return out
}

func systemOnly(flags []imap.Flag) []imap.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f imap.Flag) bool { return !strings.HasPrefix(string(f), `\`) })
}
