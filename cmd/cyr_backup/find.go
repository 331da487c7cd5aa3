package main

import (
	"fmt"
	"io"
	"mime"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"

	"backupd/cmd/internal/cli"
	"backupd/internal/when"
	"backupd/objstore/reread"
	"backupd/partitions/history"
)

// framesKept bounds the frames that are held while headers are read.
const framesKept = 16 << 20

// findMessages shows the messages that fit all criteria: mailbox by mailbox, in order
// of their uids. What the record tells is compared before the header is read.
func findMessages(c *command) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	s := &search{c: c, q: q, objects: history.NewObjects(reread.New(c.found.Partition.Store, framesKept), 0)}
	for m, err := range c.mem.Mailboxes() {
		if err != nil {
			return err
		}
		if !q.in(m.Name) {
			continue
		}
		for r, err := range c.mem.Records(m.UniqueID, 0) {
			if err != nil {
				return err
			}
			if err := s.record(m, r); err != nil {
				return enough(err)
			}
		}
	}
	if s.unread > 0 {
		fmt.Fprintf(c.err, "cyr_backup: the headers of %d messages could not be read; ctl_backups verify tells more\n", s.unread)
		return cli.ErrReported
	}
	return nil
}

// query is what is looked for.
type query struct {
	header          []headerTerm
	mailboxes       []*regexp.Regexp // over internal names, one of which has to fit; nil = all
	before, since   time.Time
	larger, smaller uint64 // 0 = any
}

// headerTerm is a text that stands in one of the header fields.
type headerTerm struct {
	fields []string // lower case
	text   string   // lower case
}

func (c *command) query() (*query, error) {
	q := &query{}
	for _, w := range c.names {
		key, value, ok := strings.Cut(w, ":")
		if !ok || value == "" {
			return nil, cli.Usagef("%q is not a criterion: write it as subject:TEXT", w)
		}
		if err := q.add(c, strings.ToLower(key), value); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func (q *query) add(c *command, key, value string) (err error) {
	switch key {
	case "subject", "from":
		q.header = append(q.header, headerTerm{[]string{key}, strings.ToLower(value)})
	case "to":
		q.header = append(q.header, headerTerm{[]string{"to", "cc", "bcc"}, strings.ToLower(value)})
	case "mailbox":
		err = q.addMailbox(c.meant(value))
	case "before":
		q.before, err = c.moment(key, value)
	case "since":
		q.since, err = c.moment(key, value)
	case "larger":
		q.larger, err = humanize.ParseBytes(value)
	case "smaller":
		q.smaller, err = humanize.ParseBytes(value)
	default:
		return cli.Usagef("%q is not a criterion: they are subject, from, to, mailbox, before, since, larger and smaller", key)
	}
	if err != nil {
		return cli.Usagef("%s: %v", key, err)
	}
	return nil
}

// moment reads a time of a criterion.
func (c *command) moment(key, value string) (time.Time, error) {
	m, err := when.Parse(value, c.now)
	if m.Note != "" {
		c.warn(key + ": " + m.Note)
	}
	return m.Time, err
}

// addMailbox takes the names that were meant.
func (q *query) addMailbox(names []string) error {
	for _, n := range names {
		p, err := pattern(n)
		if err != nil {
			return err
		}
		q.mailboxes = append(q.mailboxes, p)
	}
	return nil
}

// in says whether a mailbox is looked into.
func (q *query) in(name string) bool {
	return q.mailboxes == nil || slices.ContainsFunc(q.mailboxes, func(p *regexp.Regexp) bool { return p.MatchString(name) })
}

// pattern reads the wildcards of IMAP's LIST: % is anything within a level, * anything.
func pattern(name string) (*regexp.Regexp, error) {
	p := regexp.QuoteMeta(name)
	p = strings.ReplaceAll(p, "%", `[^.]*`)
	p = strings.ReplaceAll(p, `\*`, `.*`)
	return regexp.Compile(`^` + p + `$`)
}

// search is a search under way.
type search struct {
	c       *command
	q       *query
	objects *history.Objects
	shown   int
	unread  int
}

func (s *search) record(m *history.MailboxState, r *history.RecordState) error {
	if !s.q.fits(r) {
		return nil
	}
	fields, err := s.fields(r)
	if err != nil {
		return err
	}
	if fields == nil && len(s.q.header) > 0 || !s.q.fitsHeader(fields) {
		return nil
	}
	if s.c.max > 0 && s.shown == s.c.max {
		return errEnough
	}
	s.shown++
	return s.c.hit(m, r, strings.Join(fields["subject"], " "))
}

func (q *query) fits(r *history.RecordState) bool {
	t := time.Unix(r.InternalDate, 0)
	switch {
	case !q.before.IsZero() && !t.Before(q.before), !q.since.IsZero() && t.Before(q.since):
		return false
	case q.larger > 0 && uint64(r.Size) <= q.larger, q.smaller > 0 && uint64(r.Size) >= q.smaller:
		return false
	}
	return true
}

// fields reads the header of a message, decoded, by lower-case names; nil where the
// backup has no body or it cannot be read, which is counted.
func (s *search) fields(r *history.RecordState) (map[string][]string, error) {
	m, err := s.c.mem.Message(r.GUID)
	if err != nil || m == nil || m.Missing {
		return nil, err
	}
	raw, err := s.c.header(s.objects, m)
	if err != nil {
		if s.c.ctx.Err() != nil {
			return nil, s.c.ctx.Err()
		}
		s.unread++
		fmt.Fprintf(s.c.err, "cyr_backup: %v\n", err)
		return nil, nil
	}
	out := map[string][]string{}
	for name, values := range raw {
		k := strings.ToLower(name)
		for _, v := range values {
			out[k] = append(out[k], decoded(v))
		}
	}
	return out, nil
}

func (q *query) fitsHeader(fields map[string][]string) bool {
	for _, t := range q.header {
		if !t.in(fields) {
			return false
		}
	}
	return true
}

func (t headerTerm) in(fields map[string][]string) bool {
	for _, f := range t.fields {
		for _, v := range fields[f] {
			if strings.Contains(strings.ToLower(v), t.text) {
				return true
			}
		}
	}
	return false
}

// decoded reads the encoded words of a header field (RFC 2047); what is wrong in them
// stays as it is. Bytes that are no UTF-8 are what old programs wrote without saying so:
// Latin-1 in most cases.
func decoded(v string) string {
	if !utf8.ValidString(v) {
		v, _ = charmap.Windows1252.NewDecoder().String(v) // which knows every byte
	}
	d := mime.WordDecoder{CharsetReader: func(charset string, in io.Reader) (io.Reader, error) {
		e, err := htmlindex.Get(charset)
		if err != nil {
			return nil, err
		}
		return e.NewDecoder().Reader(in), nil
	}}
	if out, err := d.DecodeHeader(v); err == nil {
		return out
	}
	return v
}

// hit shows a message that was found.
func (c *command) hit(m *history.MailboxState, r *history.RecordState, subject string) error {
	if c.json {
		o := struct {
			UID      uint32 `json:"uid"`
			Mailbox  string `json:"mboxname"`
			UniqueID string `json:"uniqueid"`
			Date     string `json:"internaldate"`
			Size     uint32 `json:"size"`
			GUID     string `json:"guid"`
			Subject  any    `json:"subject"`
			Expunged string `json:"expunged,omitempty"`
			Deleted  any    `json:"mailbox_deleted,omitempty"`
		}{r.UID, m.Name, m.UniqueID, time.Unix(r.InternalDate, 0).UTC().Format(time.RFC3339), r.Size, r.GUID.String(), text(subject), "", moment(m.Deleted)}
		if r.Expunged != 0 {
			o.Expunged = time.Unix(r.Expunged, 0).UTC().Format(time.RFC3339)
		}
		w := lines{w: c.out}
		w.line(o)
		return w.err
	}
	if r.Expunged != 0 {
		subject = "[expunged " + local(r.Expunged) + "] " + subject
	}
	_, err := fmt.Fprintf(c.out, "%d\t%s\t%s\t%s\t%s\n", r.UID, m.Name, local(r.InternalDate), r.GUID, oneLine(subject))
	return err
}

// size is a number of bytes as the options ask for it.
func (c *command) size(n int64) string {
	if c.human && n >= 0 {
		return humanize.Bytes(uint64(n))
	}
	return fmt.Sprint(n)
}
