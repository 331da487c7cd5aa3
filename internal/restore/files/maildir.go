package files

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// maildir is a Maildir++ as Courier and Dovecot read it: the INBOX at the root, every other
// mailbox in .A.B beside it, names in modified UTF-7, and keywords as the letters of Dovecot's
// dovecot-keywords. A dot in a name is ^, as in Cyrus.
type maildir struct {
	opt     *Options
	rep     *restore.Report
	base    *base
	folders *origins
	dir     *os.Root // of the mailbox being written
	words   *alphabet
	rest    *lines          // keywords.ndjson
	resting map[string]bool // files with a line in rest
	files   *newFiles
	name    string // of the mailbox
	// count has the highest number in a file's name, by the beginning of its GUID, in fixed
	// memory: messages that share a beginning only skip numbers.
	count []int32
}

// restingWords is a line of keywords.ndjson: the keywords of a message that have no letter.
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

// ours matches a file that an earlier restore wrote: TIME.GUID_N.restore,S=SIZE:2,FLAGS
var ours = regexp.MustCompile(`^(-?\d+\.([0-9a-f]{40})_(\d+)\.restore,S=(\d+))(:|$)`)

// levels returns the path of a mailbox's directory.
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
	if d.files, err = openNewFiles(d.dir, "tmp", "cur"); err != nil {
		return nil, err
	}
	if err := errors.Join(sweep(d.dir, "tmp", ""), sweep(d.dir, ".", "")); err != nil {
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

// inTheWay examines the names that a folder needs and peek does not read.
func (d *maildir) inTheWay() error {
	if _, err := list(d.dir, "tmp"); err != nil {
		return err
	}
	if info, err := d.dir.Lstat(marker); err == nil && !info.Mode().IsRegular() {
		return inTheWay(marker, info)
	}
	return nil
}

// marker is the file by which Maildir++ recognises a subfolder.
const marker = "maildirfolder"

// mark creates an empty maildirfolder. An existing one stays unchanged.
func (d *maildir) mark() error {
	_, err := d.dir.Lstat(marker)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return put(d.dir, marker, "")
}

// peek counts the messages that earlier runs wrote, and changes nothing.
func (d *maildir) peek(dir *os.Root) (have map[cyrus.GUID]int, err error) {
	d.dir, d.resting = dir, map[string]bool{}
	if d.count == nil {
		d.count = make([]int32, 1<<guidBits)
	}
	clear(d.count)
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

// see counts a file that an earlier run wrote, unless the file was truncated since.
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
	n, err := strconv.ParseInt(m[3], 10, 32)
	if err != nil {
		return nil // restore never uses such a number
	}
	d.count[short(g)] = max(d.count[short(g)], int32(n))
	if info.Mode().IsRegular() && strconv.FormatInt(info.Size(), 10) == m[4] {
		have[g]++
	}
	return nil
}

// number returns the number in the name of a new file, which no file of this message has.
func (d *maildir) number(g cyrus.GUID) int32 {
	d.count[short(g)]++
	return d.count[short(g)]
}

// guidBits is the length of the beginning of a GUID in count.
const guidBits = 20

func short(g cyrus.GUID) uint32 { return binary.BigEndian.Uint32(g[:4]) >> (32 - guidBits) }

// messages writes a batch. The meaning of letters and the other keywords come first, because an
// interrupted run must not leave letters without a meaning.
func (d *maildir) messages(batch []*delivery, done func(*delivery)) error {
	names := make([]string, len(batch))
	var resting []restingWords
	for i, m := range batch {
		file := fmt.Sprintf("%d.%s_%d.restore,S=%d", m.InternalDate, m.GUID, d.number(m.GUID), m.body.Size)
		flags, rest := d.flags(m.Flags)
		names[i] = file + ":2," + flags
		if len(rest) > 0 {
			d.resting[file] = true
			resting = append(resting, restingWords{file, rest})
		}
	}
	err := d.words.write(d.dir)
	if err == nil {
		err = addLines(d.rest, resting)
	}
	if err != nil {
		return err
	}
	return sideBySide(batch, func(i int) error {
		return d.files.write(names[i], batch[i].body, time.Unix(batch[i].InternalDate, 0))
	}, done)
}

// flags returns the letters of a message, and its keywords that have none.
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
	d.reportResting(len(d.resting))
	err := errors.Join(d.rest.close(), d.files.close(), d.dir.Close())
	d.rest, d.dir, d.files = nil, nil, nil
	return err
}

// errResting is the problem of keywords that no mail program can see.
var errResting = errors.New("a Maildir folder has letters for 26 keywords; the others are in " + filename.Keywords + " (with --lossy this is not a problem)")

// reportResting reports messages with keywords that have no letter.
func (d *maildir) reportResting(n int) {
	if n == 0 {
		return
	}
	err := fmt.Errorf("%s: %s with more keywords: %w", d.name, english.Plural(n, "message", ""), errResting)
	if d.opt.Lossy {
		d.rep.Say("%v", err)
		return
	}
	d.rep.Fail(err)
}

func (d *maildir) drop() {
	_ = errors.Join(d.rest.close(), d.files.close())
	if d.dir != nil {
		_ = d.dir.Close()
	}
	d.rest, d.dir, d.files = nil, nil, nil
}

// account writes subscriptions in Dovecot's format, and the scripts.
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
