package imapdest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"

	"github.com/cyrusbackup/backupd/internal/restore"
)

// longest is the length, in bytes, up to which every server that was tried takes a name
// that is made up here.
const longest = 180

// place is where a folder goes at the server.
type place struct {
	name   string
	exists bool
}

// place finds the folder's name at the server and makes the folder, except in a dry run.
// A name that the server refuses is replaced by a plain one.
func (s *session) place(internal string) (p place, err error) {
	parts := s.parts(internal)
	p.name = s.join(parts)
	p.exists, err = s.create(p.name)
	if refused := answered(err); refused != nil && refused.Code != imap.ResponseCodeAlreadyExists {
		if instead := s.join(safe(parts)); instead != p.name {
			if exists, second := s.create(instead); second == nil {
				s.rep.Say("%s: the server has no mailbox %s (%s): it goes to %s; --map chooses another name", internal, p.name, plain(refused), instead)
				p, err = place{instead, exists}, nil
			}
		}
	}
	if answered(err) != nil {
		err = fmt.Errorf("mailbox %s: the server refuses it: %s (--map OLD=NEW brings it under another name): %w", p.name, plain(err), errFolder)
	}
	if err != nil {
		return p, err
	}
	return p, s.claim(p.name, internal)
}

// claim makes sure that no two folders of the backup are mixed.
func (d *Destination) claim(name, internal string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if by, taken := d.placed[name]; taken && by != internal {
		return fmt.Errorf("mailbox %s: %s goes there already (--map OLD=NEW brings it under another name): %w", name, by, errFolder)
	}
	d.placed[name] = internal
	return nil
}

// nameOf is the name that a folder got at the server.
func (s *session) nameOf(internal string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, of := range s.placed {
		if of == internal {
			return name
		}
	}
	return s.join(s.parts(internal))
}

// parts are the components of a mailbox's name at the server.
func (s *session) parts(internal string) []string {
	parts := restore.Path(internal, s.opt.DefaultDomain, s.opt.DeletedPrefix)
	if s.at.Folder != "" {
		parts = append(strings.Split(s.at.Folder, "/"), parts...)
	}
	parts = slices.Clone(parts)
	for i, p := range parts {
		if strings.Contains(p, s.delim) {
			parts[i] = marked(strings.ReplaceAll(p, s.delim, "_"), p)
		}
	}
	if len(parts) > 0 && s.prefix == "" && strings.EqualFold(parts[0], "INBOX") {
		parts[0] = marked(parts[0], parts[0]) // else it would be the mailbox above it
	}
	return parts
}

func (s *session) join(parts []string) string {
	if len(parts) == 0 {
		return "INBOX"
	}
	return s.prefix + strings.Join(parts, s.delim)
}

// safe makes components of which no server is known that refuses them: letters, digits and
// little else. Those that change get a mark of what they were.
func safe(parts []string) []string {
	out := make([]string, len(parts))
	size := 0
	for i, p := range parts {
		out[i] = p
		if q := strings.TrimSpace(strings.Map(plainRune, strings.ToValidUTF8(p, "_"))); q != p {
			out[i] = marked(q, p)
		}
		size += len(out[i]) + 1
	}
	if size > longest { // some servers keep all levels in one file name
		last := out[len(out)-1]
		return []string{marked(cut(last, longest/3), strings.Join(parts, "\x00"))}
	}
	return out
}

func plainRune(r rune) rune {
	if unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || strings.ContainsRune(" -_+=,@", r) {
		return r
	}
	return '_'
}

// marked appends a mark of the original to a name, so that no two become the same.
func marked(name, original string) string {
	sum := sha256.Sum256([]byte(original))
	return name + "-" + hex.EncodeToString(sum[:4])
}

// cut shortens a text to n bytes or a little less, at a boundary of characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// create makes the folder unless it is there. In a dry run the server is asked whether it
// could have such a folder; not all servers say so before they have to make it.
func (s *session) create(name string) (exists bool, err error) {
	list, err := s.c.List("", name, nil).Collect()
	if err != nil {
		return false, err
	}
	for _, l := range list {
		if l.Mailbox == name && !slices.Contains(l.Attrs, imap.MailboxAttrNoSelect) && !slices.Contains(l.Attrs, imap.MailboxAttrNonExistent) {
			return true, nil
		}
	}
	if !s.opt.DryRun {
		return false, s.c.Create(name, nil).Wait()
	}
	_, err = s.c.Status(name, &imap.StatusOptions{UIDValidity: true}).Wait()
	if refused := answered(err); refused != nil && refused.Code != imap.ResponseCodeCannot {
		return false, nil // it is not there, as was to be expected
	}
	return false, err
}
