package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/filename"
)

// maildir is a Maildir++ as Courier and Dovecot read it: the INBOX at the root, every
// other mailbox in .A.B beside it, named in modified UTF-7, users' own flags by the
// letters of Dovecot's dovecot-keywords. A dot in a name is ^, as within Cyrus.
type maildir struct {
	opt     *Options
	rep     *restore.Report
	base    *base
	folders *origins
	dir     *os.Root // of the mailbox being written
	words   *alphabet
	rest    *lines             // keywords.ndjson
	resting map[string]bool    // files that it has a line of
	count   map[cyrus.GUID]int // the highest number in a file's name
	name    string             // of the mailbox
}

// restingWords is a line of keywords.ndjson: keywords for which a folder has no letter.
type restingWords struct {
	File     string             `json:"file"` // up to the colon
	Keywords []dlist.JSONString `json:"keywords"`
}

func newMaildir(o *Options, rep *restore.Report) (sink, error) {
	b, err := openBase(o.Path)
	if err != nil {
		return nil, err
	}
	d := &maildir{opt: o, rep: rep, base: b}
	if d.folders, err = openOrigins(b.Root); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return d, nil
}

// ours is a file that an earlier restore has written: TIME.GUID_N.restore,S=SIZE:2,FLAGS
var ours = regexp.MustCompile(`^(-?\d+\.([0-9a-f]{40})_(\d+)\.restore,S=(\d+))(:|$)`)

// levels is the directory of a mailbox.
func (m *mailbox) levels() []string {
	if m.maildir == "" {
		return nil
	}
	return []string{m.maildir}
}

func (d *maildir) folder(m *mailbox) (have map[cyrus.GUID]int, err error) {
	d.name = string(m.origin.Internal)
	if d.dir, err = descend(d.base.Root, m.levels(), true); err != nil {
		return nil, err
	}
	for _, sub := range []string{"tmp", "new", "cur"} {
		s, err := enter(d.dir, sub, true)
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			return nil, err
		}
	}
	if err := sweep(d.dir, "tmp", ""); err != nil {
		return nil, err
	}
	if have, err = d.peek(d.dir); err != nil {
		return nil, err
	}
	if m.maildir != "" {
		if err := d.mark(); err != nil {
			return nil, err
		}
	}
	if err := d.folders.add(m.origin); err != nil {
		return nil, err
	}
	d.rest, err = openLines(d.dir, filename.Keywords, "file", func([]byte) error { return nil })
	return have, err
}

// inTheWay looks at the names that a folder needs and that peek does not read.
func (d *maildir) inTheWay() error {
	if _, err := list(d.dir, "tmp"); err != nil {
		return err
	}
	if info, err := d.dir.Lstat(marker); err == nil && !info.Mode().IsRegular() {
		return inTheWay(marker, info)
	}
	return nil
}

// marker is what Maildir++ tells a subfolder by.
const marker = "maildirfolder"

// mark makes an empty maildirfolder. One that is there stays, whatever it holds.
func (d *maildir) mark() error {
	_, err := d.dir.Lstat(marker)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return put(d.dir, marker, "")
}

// peek counts the messages that earlier runs have written, and changes nothing.
func (d *maildir) peek(dir *os.Root) (have map[cyrus.GUID]int, err error) {
	d.dir, d.count, d.resting = dir, map[cyrus.GUID]int{}, map[string]bool{}
	if err := d.inTheWay(); err != nil {
		return nil, err
	}
	if d.words, err = readAlphabet(dir); err != nil {
		return nil, err
	}
	if err := readLines(dir, filename.Keywords, "file", d.seeResting); err != nil {
		return nil, err
	}
	have = map[cyrus.GUID]int{}
	for _, sub := range []string{"new", "cur"} {
		entries, err := list(dir, sub)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if err := d.see(e, have); err != nil {
				return nil, fmt.Errorf("%s: %w", sub, err)
			}
		}
	}
	return have, nil
}

func (d *maildir) seeResting(line []byte) error {
	var r restingWords
	err := json.Unmarshal(line, &r)
	d.resting[r.File] = true
	return err
}

// see counts a file that an earlier run has written, unless it was cut short since.
func (d *maildir) see(e os.DirEntry, have map[cyrus.GUID]int) error {
	m := ours.FindStringSubmatch(e.Name())
	if m == nil {
		return nil
	}
	info, err := e.Info()
	if err != nil {
		return err
	}
	g, err := cyrus.ParseGUID(m[2])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(m[3])
	if err != nil {
		return nil // it has a number that we do not give
	}
	d.count[g] = max(d.count[g], n)
	if info.Mode().IsRegular() && strconv.FormatInt(info.Size(), 10) == m[4] {
		have[g]++
	}
	return nil
}

func (d *maildir) message(m *restore.Message, body io.Reader, size int64) error {
	d.count[m.GUID]++
	file := fmt.Sprintf("%d.%s_%d.restore,S=%d", m.InternalDate, m.GUID, d.count[m.GUID], size)
	flags, rest := d.flags(m.Flags)
	p, err := newPartial(d.dir, "tmp", path.Join("cur", file+":2,"+flags))
	if err != nil {
		return err
	}
	_, err = io.Copy(p, body)
	if err == nil {
		err = p.setTime(time.Unix(m.InternalDate, 0))
	}
	// A run that is cut must not leave letters of which nothing says what they mean.
	if err == nil {
		err = d.words.write(d.dir)
	}
	if err == nil && len(rest) > 0 {
		d.resting[file] = true
		err = d.rest.add(restingWords{file, rest})
	}
	if err != nil {
		p.abandon()
		return err
	}
	_, err = p.commit()
	return err
}

// flags are the letters of a message, and the keywords that have none.
func (d *maildir) flags(flags []string) (string, []dlist.JSONString) {
	s := letters(flags, [2]string{`\Draft`, "D"}, [2]string{`\Flagged`, "F"}, [2]string{`\Answered`, "R"}, [2]string{`\Seen`, "S"}, [2]string{`\Deleted`, "T"})
	plain, odd := keywords(flags)
	var own []byte
	var rest []dlist.JSONString
	for _, k := range plain {
		if l, ok := d.words.letter(k); ok {
			own = append(own, l)
		} else {
			rest = append(rest, dlist.JSONString(k))
		}
	}
	for _, k := range odd {
		rest = append(rest, dlist.JSONString(k))
	}
	slices.Sort(own)
	return s + string(slices.Compact(own)), rest
}

func (d *maildir) endFolder() error {
	d.tellResting(len(d.resting))
	err := errors.Join(d.rest.close(), d.dir.Close())
	d.rest, d.dir = nil, nil
	return err
}

// errResting is about keywords that no mail program sees.
var errResting = errors.New("a Maildir has letters for 26 keywords in a folder; the others are in " + filename.Keywords + " (--lossy: this is no problem)")

// tellResting reports messages with keywords that have no letter.
func (d *maildir) tellResting(n int) {
	if n == 0 {
		return
	}
	err := fmt.Errorf("%s: %s with further keywords: %w", d.name, english.Plural(n, "message", ""), errResting)
	if d.opt.Lossy {
		d.rep.Say("%v", err)
		return
	}
	d.rep.Fail(err)
}

func (d *maildir) drop() {
	_ = d.rest.close()
	if d.dir != nil {
		_ = d.dir.Close()
	}
	d.rest, d.dir = nil, nil
}

// account: subscriptions as Dovecot keeps them, and the scripts.
func (d *maildir) account(a *restore.Account) []error {
	var subs []string
	for _, name := range a.OwnSubs(d.opt.DefaultDomain, d.opt.DeletedPrefix) {
		folder := filename.Maildir(restore.InternalPath(name, d.opt.DefaultDomain, d.opt.DeletedPrefix))
		if folder == "" {
			folder = "." + filename.Inbox
		}
		subs = append(subs, strings.TrimPrefix(folder, "."))
	}
	return problems(putSubscriptions(d.base.Root, "subscriptions", subs), putScripts(d.base.Root, a))
}

func (d *maildir) finish() error {
	return errors.Join(syncAll(d.base.lock), d.folders.close(), d.base.close())
}

func (d *maildir) abandon() {
	d.drop()
	_ = d.folders.close()
	_ = d.base.close()
}
