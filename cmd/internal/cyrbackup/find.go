package cyrbackup

import (
	"bufio"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/mailtext"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// framesKept limits the cache of frames while headers are read.
const framesKept = 16 << 20

// findMessages prints the messages of one backup that match all criteria.
func findMessages(c *command) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	s := newSearch(q, newHits(c, false))
	if err := s.backup(c); enough(err) != nil {
		return err
	}
	return s.end(c, "the backup of "+c.found.Name().String())
}

// search is the state of a search, in one backup or in many.
type search struct {
	q         *query
	hits      sink
	printed   *hits
	frames    int64 // limit of the cache of frames
	backups   int   // searched
	mailboxes int
	messages  int
	unread    int // messages that could not be read completely
	progress  func()
}

// sink gets the messages that are found.
type sink interface {
	add(x *hit) error // errEnough after the last one
	flush() error
}

func newSearch(q *query, h *hits) *search {
	return &search{q: q, hits: h, printed: h, frames: framesKept}
}

// end prints the remaining hits, or reports that there are none.
func (s *search) end(c *command, where string) error {
	if err := s.hits.flush(); err != nil {
		return err
	}
	if s.mailboxes == 0 && s.q.mailboxes != nil && where != "" {
		cli.Fprintf(c.err, "cyr_backup: no mailbox of %s matches mailbox:\n", where)
		return cli.ErrReported
	}
	if s.printed.shown == 0 {
		cli.Fprintf(c.err, "cyr_backup: nothing found in %s: %s in %s were compared\n", where, english.Plural(s.messages, "message", ""), english.Plural(s.mailboxes, "mailbox", "mailboxes"))
	}
	if s.unread > 0 {
		cli.Fprintf(c.err, "cyr_backup: %s could not be read, and might match: ctl_backups verify reports the damage\n", english.Plural(s.unread, "message", ""))
		return cli.ErrReported
	}
	return nil
}

// decodedKept is how many bytes of decoded frames are kept for the next messages.
const decodedKept = 4 << 20

// backup searches the backup that c has loaded, mailbox by mailbox, in order of the uids. It
// compares the record before it reads the message.
func (s *search) backup(c *command) error {
	one := &reader{c: c, objects: history.NewObjects(rangecache.New(c.found.Partition.Store, s.frames), 0)}
	one.objects.KeepFrames(decodedKept)
	for m, err := range c.mem.Mailboxes() {
		if err != nil {
			return err
		}
		folder, _ := folderOf(c, m.Name)
		former, _ := cyrus.Undeleted(m.Name, c.bucket.Conf.String("deletedprefix"))
		if !s.q.in(m.Name) && !s.q.in(former) && !s.q.in(folder) {
			continue
		}
		s.mailboxes++
		for r, err := range c.mem.Records(m.UniqueID, 0) {
			if err != nil {
				return err
			}
			s.messages++
			if s.progress != nil {
				s.progress()
			}
			if err := s.record(one, m, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *search) record(one *reader, m *history.MailboxState, r *history.RecordState) error {
	if err := one.c.ctx.Err(); err != nil {
		return err
	}
	if !s.q.fits(r) {
		return nil
	}
	h, fits, err := one.compare(s.q, r)
	if err != nil {
		if one.c.ctx.Err() != nil {
			return one.c.ctx.Err()
		}
		s.unread++
		cli.Fprintf(one.c.err, "cyr_backup: %v\n", err)
		if s.q.reads() {
			return nil
		}
	}
	if !fits {
		return nil
	}
	return s.hits.add(newHit(one.c, m, r, h))
}

// reader reads the messages of one backup.
type reader struct {
	c       *command
	objects *history.Objects
}

// compare reads as much of a message as the query needs. If the backup lacks the body, only
// the record is compared.
func (o *reader) compare(q *query, r *history.RecordState) (h mailtext.Header, fits bool, err error) {
	m, err := o.c.mem.Message(r.GUID)
	if err != nil || m == nil || m.Missing {
		return nil, err == nil && !q.reads(), err
	}
	body, err := o.c.open(o.objects, m)
	if err != nil {
		return nil, !q.reads(), err
	}
	defer body.Close()
	if h, err = mailtext.ReadHeader(bufio.NewReader(body)); err != nil || !q.fitsHeader(h) {
		return h, err != nil && !q.reads(), err
	}
	if !q.readsBody() {
		return h, true, nil
	}
	whole, err := o.c.open(o.objects, m)
	if err != nil {
		return h, false, err
	}
	defer whole.Close()
	fits, err = q.fitsAttachments(whole)
	return h, fits, err
}
