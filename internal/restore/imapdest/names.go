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

// longest is the length, in bytes, that every tested server accepts for a generated name.
const longest = 180

// place is the folder's place at the server.
type place struct {
	name   string
	exists bool
}

// place finds the folder's name at the server and creates the folder, except in a dry run. If
// the server refuses a name, it uses a plain one.
func (s *session) place(internal string) (p place, err error) {
	parts := s.parts(internal)
	p.name = s.join(parts)
	p.exists, err = s.create(p.name)
	if refused := answered(err); refused != nil && refused.Code != imap.ResponseCodeAlreadyExists {
		if instead := s.join(safe(parts)); instead != p.name {
			if exists, second := s.create(instead); second == nil {
				s.rep.Say("%s: the server refuses mailbox %s (%s): restored to %s; --map chooses another name", internal, p.name, plain(refused), instead)
				p, err = place{instead, exists}, nil
			}
		}
	}
	if answered(err) != nil {
		err = fmt.Errorf("mailbox %s: the server refuses the name: %s (use --map OLD=NEW to choose another): %w", p.name, plain(err), errFolder)
	}
	if err != nil {
		return p, err
	}
	return p, s.claim(p.name, internal)
}

// claim ensures that no two folders of the backup are mixed.
func (d *Destination) claim(name, internal string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if by, taken := d.placed[name]; taken && by != internal {
		return fmt.Errorf("mailbox %s: already used for %s (use --map OLD=NEW to choose another name): %w", name, by, errFolder)
	}
	d.placed[name] = internal
	return nil
}

// nameOf returns the folder's name at the server.
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

// parts returns the components of a mailbox's name at the server.
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
		parts[0] = marked(parts[0], parts[0]) // otherwise it would be the INBOX itself
	}
	return parts
}

func (s *session) join(parts []string) string {
	if len(parts) == 0 {
		return "INBOX"
	}
	return s.prefix + strings.Join(parts, s.delim)
}

// safe makes components that no known server refuses: letters, digits and little else. A changed
// component gets a mark of its original.
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
	if size > longest { // some servers store all levels in one file name
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

// marked appends a hash of the original to a name, so that different names stay different.
func marked(name, original string) string {
	sum := sha256.Sum256([]byte(original))
	return name + "-" + hex.EncodeToString(sum[:4])
}

// cut shortens a text to at most n bytes, at a character boundary.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// create creates the folder unless it exists. In a dry run it asks the server whether the name is
// valid; not all servers report that before the folder is created.
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
		return false, nil // the folder does not exist, as expected
	}
	return false, err
}
