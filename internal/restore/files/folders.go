package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
)

// mailbox is a mailbox with its file names.
type mailbox struct {
	path    []string // in a tree, one component per level
	maildir string   // in a Maildir++; "" = the INBOX
	merged  bool     // of several mailboxes: uids may repeat
	origin  origin
	words   func() ([]string, error) // the keywords of its messages
}

// origin is a line of folders.ndjson: the mailbox of a path.
type origin struct {
	Path     string           `json:"path"`
	Name     dlist.JSONString `json:"name"`     // in the administrator's form
	Internal dlist.JSONString `json:"internal"` // as the mail server stores it
	UniqueID string           `json:"uniqueid"`
	ACL      dlist.JSONString `json:"acl,omitempty"` // user, rights, user, rights, … separated by tabs
}

func (d *Destination) mailbox(f *restore.Folder) *mailbox {
	internal := restore.InternalPath(f.Name, d.opt.DefaultDomain, d.opt.DeletedPrefix)
	m := &mailbox{path: filename.Path(internal), maildir: filename.Maildir(internal), merged: f.Merged, words: func() ([]string, error) { return d.words(f) }}
	at := strings.Join(m.path, "/")
	switch {
	case d.opt.Kind == "mbox":
		at += mboxSuffix
	case d.opt.Kind == "maildir" && m.maildir == "":
		at = "."
	case d.opt.Kind == "maildir":
		at = m.maildir
	}
	m.origin = origin{at, dlist.JSONString(cyrus.FromUTF7(d.opt.AdminForm.External(f.Name))), dlist.JSONString(f.Name), f.From.UniqueID, acl(f)}
	return m
}

func acl(f *restore.Folder) dlist.JSONString {
	for _, p := range f.From.Fields {
		if p.Key == "ACL" {
			return dlist.JSONString(p.Value.Str)
		}
	}
	return ""
}

// words collects the keywords of a folder, in the order of its messages.
func (d *Destination) words(f *restore.Folder) (out []string, err error) {
	known := map[string]bool{}
	for _, ref := range f.Messages {
		m, err := d.src.Message(ref)
		if err != nil {
			return nil, &ending{err}
		}
		plain, _ := keywords(m.Flags)
		for _, k := range plain {
			if !known[k] {
				known[k] = true
				out = append(out, k)
			}
		}
	}
	return out, nil
}

// errSharedPath can occur only if the hashes of two long names are equal.
var errSharedPath = errors.New("another mailbox of this restore has the same path; restore this mailbox to another place")

// claim records that a mailbox uses a path.
func (d *Destination) claim(m *mailbox, name string) error {
	if other, ok := d.claimed[m.origin.Path]; ok && other != name {
		return fmt.Errorf("%s: %w", m.origin.Path, errSharedPath)
	}
	d.claimed[m.origin.Path] = name
	return nil
}

// origins writes the folders.ndjson of a directory.
type origins struct {
	lines *lines
	known map[origin]bool
}

func openOrigins(at *os.Root) (*origins, error) {
	o := &origins{known: map[origin]bool{}}
	var err error
	o.lines, err = openLines(at, filename.Folders, "path", func(line []byte) error {
		var known origin
		err := json.Unmarshal(line, &known)
		o.known[known] = true
		return err
	})
	return o, err
}

func (o *origins) add(one origin) error {
	if o.known[one] {
		return nil
	}
	o.known[one] = true
	return addLines(o.lines, []origin{one})
}

func (o *origins) close() error { return o.lines.close() }
