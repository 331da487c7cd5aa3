package files

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"backupd/internal/restore"
	"backupd/replication/cyrus"
)

// maildir is a Maildir++ as Courier and Dovecot read it: the INBOX at the root, every
// other mailbox in .A.B beside it, named in modified UTF-7, user's own flags by the
// letters of Dovecot's dovecot-keywords. A dot in a name is ^, as within Cyrus.
type maildir struct {
	root string
	dir  string // of the mailbox being written
	dry  bool   // nothing is touched
	// of the names of mailboxes
	domain, deleted string
	words           []string
	known           int // of words, those in the file
	count           map[cyrus.GUID]int
}

func newMaildir(o *Options) (sink, error) {
	return &maildir{root: o.Path, domain: o.DefaultDomain, deleted: o.DeletedPrefix}, os.MkdirAll(o.Path, dirMode)
}

// ours is a file that an earlier restore has written: TIME.GUID_N.restore,S=SIZE:2,FLAGS
var ours = regexp.MustCompile(`^\d+\.([0-9a-f]{40})_(\d+)\.restore,S=(\d+)(:|$)`)

func (d *maildir) folder(name mailbox) (map[cyrus.GUID]int, error) {
	d.dir = d.at(name)
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), dirMode); err != nil {
			return nil, err
		}
	}
	if d.dir != d.root {
		// What Maildir++ tells a subfolder by.
		if err := write(filepath.Join(d.dir, "maildirfolder"), strings.NewReader(""), time.Time{}); err != nil {
			return nil, err
		}
	}
	if err := d.readKeywords(); err != nil {
		return nil, err
	}
	return d.held()
}

// at is the directory of a mailbox.
func (d *maildir) at(name mailbox) string {
	if len(name.internal) == 0 {
		return d.root
	}
	return filepath.Join(d.root, strings.ReplaceAll("."+strings.Join(name.internal, "."), "/", "%2F"))
}

// peek is what folder returns, without making anything.
func (d *maildir) peek(name mailbox) (map[cyrus.GUID]int, error) {
	d.dir, d.dry = d.at(name), true
	return d.held()
}

// held counts the messages that earlier runs have written.
func (d *maildir) held() (map[cyrus.GUID]int, error) {
	d.count = map[cyrus.GUID]int{}
	have := map[cyrus.GUID]int{}
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(d.dir, sub))
		if err != nil && !(d.dry && errors.Is(err, os.ErrNotExist)) {
			return nil, err
		}
		for _, e := range entries {
			if err := d.see(sub, e, have); err != nil {
				return nil, err
			}
		}
	}
	return have, nil
}

// see counts a file that an earlier run has written, unless a power cut has left it short.
func (d *maildir) see(sub string, e os.DirEntry, have map[cyrus.GUID]int) error {
	m := ours.FindStringSubmatch(e.Name())
	if m == nil {
		return nil
	}
	info, err := e.Info()
	if err != nil {
		return err
	}
	g, err := cyrus.ParseGUID(m[1])
	if err != nil {
		return err
	}
	if strconv.FormatInt(info.Size(), 10) != m[3] {
		if d.dry {
			return nil
		}
		return os.Remove(filepath.Join(d.dir, sub, e.Name()))
	}
	n, err := strconv.Atoi(m[2])
	if err != nil {
		return err
	}
	have[g]++
	d.count[g] = max(d.count[g], n)
	return nil
}

func (d *maildir) message(m *restore.Message, body io.Reader, size int64) error {
	d.count[m.GUID]++
	name := fmt.Sprintf("%d.%s_%d.restore,S=%d:2,%s", m.InternalDate, m.GUID, d.count[m.GUID], size, d.flags(m.Flags))
	tmp := filepath.Join(d.dir, "tmp", name)
	if err := write(tmp, body, time.Unix(m.InternalDate, 0)); err != nil {
		return err
	}
	// A run that is cut must not leave letters of which nothing says what they mean.
	if err := d.writeKeywords(); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(d.dir, "cur", name))
}

func (d *maildir) flags(flags []string) string {
	s := letters(flags, [2]string{`\Draft`, "D"}, [2]string{`\Flagged`, "F"}, [2]string{`\Answered`, "R"}, [2]string{`\Seen`, "S"}, [2]string{`\Deleted`, "T"})
	var own []byte
	for _, k := range keywords(flags) {
		i := slices.Index(d.words, k)
		if i < 0 {
			i = len(d.words)
			d.words = append(d.words, k)
		}
		if i < 26 { // there are no more letters
			own = append(own, 'a'+byte(i))
		}
	}
	slices.Sort(own)
	return s + string(own)
}

func (d *maildir) readKeywords() error {
	d.words = nil
	b, err := os.ReadFile(filepath.Join(d.dir, "dovecot-keywords"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		if _, word, ok := strings.Cut(sc.Text(), " "); ok {
			d.words = append(d.words, word)
		}
	}
	d.known = len(d.words)
	return nil
}

// writeKeywords brings the file up to date. It has the old words or the new ones, whenever
// the run is cut.
func (d *maildir) writeKeywords() error {
	if len(d.words) == d.known {
		return nil
	}
	var b bytes.Buffer
	for i, w := range d.words {
		fmt.Fprintf(&b, "%d %s\n", i, w)
	}
	tmp := filepath.Join(d.dir, "tmp", "dovecot-keywords")
	if err := write(tmp, &b, time.Time{}); err != nil {
		return err
	}
	d.known = len(d.words)
	return os.Rename(tmp, filepath.Join(d.dir, "dovecot-keywords"))
}

func (d *maildir) endFolder() error { return nil }

// account: subscriptions as Dovecot keeps them, and the scripts.
func (d *maildir) account(a *restore.Account) error {
	var subs bytes.Buffer
	for _, name := range a.OwnSubs(d.domain, d.deleted) {
		if p := restore.InternalPath(name, d.domain, d.deleted); len(p) > 0 {
			subs.WriteString(strings.Join(p, ".") + "\n")
		} else {
			subs.WriteString("INBOX\n")
		}
	}
	if subs.Len() > 0 {
		if err := writeNew(filepath.Join(d.root, "subscriptions"), subs.Bytes()); err != nil {
			return err
		}
	}
	return writeScripts(filepath.Join(d.root, "sieve"), a)
}

func (d *maildir) finish() error { return syncAll(d.root) }
func (d *maildir) abandon()      {}

// writeNew writes a file unless one is there.
func writeNew(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// writeScripts writes scripts into a directory, and active.sieve as a link to the one that is.
func writeScripts(dir string, a *restore.Account) error {
	for _, s := range a.Scripts {
		if err := os.MkdirAll(dir, dirMode); err != nil {
			return err
		}
		if err := writeNew(filepath.Join(dir, fileName(restore.ScriptName(s.Filename))+".sieve"), []byte(s.Content)); err != nil {
			return err
		}
	}
	for _, e := range a.Active {
		err := os.Symlink(fileName(restore.ScriptName(e.Filename))+".sieve", filepath.Join(dir, "active"))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
