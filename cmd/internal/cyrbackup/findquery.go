package cyrbackup

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/mailtext"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// query is a conjunction of criteria.
type query struct {
	header          []headerTerm
	ids             []string         // Message-IDs
	files           []string         // parts of names of attachments, folded
	attachment      bool             // must have an attachment
	mailboxes       []*regexp.Regexp // of internal names, any of them must match; nil = all
	before, since   time.Time
	larger, smaller uint64 // 0 = any
}

// headerTerm matches a text in any of the header fields.
type headerTerm struct {
	fields []string // lower case
	text   string   // folded
}

// criteria returns the names of criteria, which come before a colon.
func criteria() []string {
	return []string{"subject", "from", "to", "text", "message-id", "filename", "has", "mailbox", "before", "since", "larger", "smaller"}
}

func (c *command) query() (*query, error) {
	q := &query{}
	for _, w := range c.names {
		key, value, ok := strings.Cut(w, ":")
		if !ok {
			key, value = "text", w
		}
		if strings.TrimSpace(value) == "" {
			return nil, cli.Usagef("%q is not a criterion: write it as subject:TEXT, or as a word alone", w)
		}
		if err := q.add(c, strings.ToLower(key), value); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func (q *query) add(c *command, key, value string) (err error) {
	switch key {
	case "subject", "from", "to", "text":
		q.header = append(q.header, headerTerm{fieldsOf(key), mailtext.Fold(value)})
	case "message-id":
		q.ids = append(q.ids, value)
	case "filename":
		q.files = append(q.files, mailtext.Fold(value))
	case "has":
		if value != "attachment" {
			return cli.Usagef("has:%s: only has:attachment exists", value)
		}
		q.attachment = true
	case "mailbox":
		err = q.addMailbox(c.candidates(value))
	case "before":
		q.before, err = c.moment(key, value)
	case "since":
		q.since, err = c.moment(key, value)
	case "larger":
		q.larger, err = humanize.ParseBytes(value)
	case "smaller":
		q.smaller, err = humanize.ParseBytes(value)
	default:
		return cli.Usagef("%q is not a criterion: they are %s. Write text:WORD for a word with a colon", key, strings.Join(criteria(), ", "))
	}
	if err != nil {
		return cli.Usagef("%s: %v", key, err)
	}
	return nil
}

// fieldsOf returns the header fields of a criterion.
func fieldsOf(key string) []string {
	switch key {
	case "to":
		return []string{"to", "cc", "bcc"}
	case "text":
		return []string{"subject", "from", "to", "cc", "bcc"}
	}
	return []string{key}
}

// moment parses the time of a criterion.
func (c *command) moment(key, value string) (time.Time, error) {
	m, err := timespec.Parse(value, c.now)
	if m.Note != "" {
		c.warn(key + ": " + m.Note)
	}
	return m.Time, err
}

// addMailbox adds the possible internal names of a mailbox.
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

// in reports whether a mailbox is searched.
func (q *query) in(name string) bool {
	fits := func(p *regexp.Regexp) bool { return p.MatchString(name) }
	return q.mailboxes == nil || slices.ContainsFunc(q.mailboxes, fits)
}

// pattern converts the wildcards of IMAP's LIST: % is anything within a level, * anything.
func pattern(name string) (*regexp.Regexp, error) {
	p := regexp.QuoteMeta(name)
	p = strings.ReplaceAll(p, "%", `[^.]*`)
	p = strings.ReplaceAll(p, `\*`, `.*`)
	return regexp.Compile(`(?s)^` + p + `$`)
}

// reads reports whether the query needs messages, not only records.
func (q *query) reads() bool { return len(q.header)+len(q.ids) > 0 || q.readsBody() }

func (q *query) readsBody() bool { return q.attachment || len(q.files) > 0 }

// fits compares the criteria of records.
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

func (q *query) fitsHeader(h mailtext.Header) bool {
	for _, t := range q.header {
		if !h.Contains(t.text, t.fields...) {
			return false
		}
	}
	for _, id := range q.ids {
		if !h.HasID(id) {
			return false
		}
	}
	return true
}

// fitsAttachments reads a message until all file names are found.
func (q *query) fitsAttachments(message io.Reader) (bool, error) {
	missing, any := slices.Clone(q.files), false
	err := mailtext.Attachments(message, func(a mailtext.Attachment) bool {
		any = true
		name := mailtext.Fold(a.Name)
		missing = slices.DeleteFunc(missing, func(f string) bool { return strings.Contains(name, f) })
		return len(missing) > 0
	})
	if any && len(missing) == 0 {
		return true, nil // the rest does not matter
	}
	return false, err
}
