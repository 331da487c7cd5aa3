package cyrbackup

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/cyrusbackup/backupd/cmd/internal/stores"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/mailtext"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/internal/visible"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// hit is a message that was found.
type hit struct {
	User     string           `json:"backup"`
	Folder   dlist.JSONString `json:"folder"` // the user's name for it
	UID      uint32           `json:"uid"`
	Mailbox  string           `json:"mboxname"`
	UniqueID string           `json:"uniqueid"`
	Date     string           `json:"internaldate"`
	Size     uint32           `json:"size"`
	GUID     string           `json:"guid"`
	From     dlist.JSONString `json:"from"`
	Subject  dlist.JSONString `json:"subject"`
	Expunged string           `json:"expunged,omitempty"`
	Deleted  any              `json:"mailbox_deleted,omitempty"`
	MovedTo  string           `json:"mailbox_moved_to,omitempty"`
	Life     int              `json:"life,omitempty"` // if the user has had several

	received time.Time
	state    string // for people
}

func newHit(c *command, m *history.MailboxState, r *history.RecordState, h mailtext.Header) *hit {
	folder, deleted := folderOf(c, m.Name)
	x := &hit{User: c.found.Name().Full, Folder: text(folder), UID: r.UID, Mailbox: m.Name, UniqueID: m.UniqueID,
		received: timeOf(r.InternalDate), Size: r.Size, GUID: r.GUID.String(), From: text(h.Text("from")), Subject: text(h.Text("subject")),
		Deleted: moment(m.Deleted), MovedTo: m.MovedTo, state: "there"}
	x.Date = x.received.UTC().Format(time.RFC3339)
	switch {
	case r.Expunged != 0:
		x.Expunged = timeOf(r.Expunged).UTC().Format(time.RFC3339)
		x.state = "deleted " + local(r.Expunged)
	case m.MovedTo != "":
		x.state = "folder moved to " + m.MovedTo + " " + timespec.Text(m.Deleted)
	case !m.Deleted.IsZero():
		x.state = "folder deleted " + timespec.Text(m.Deleted)
	case deleted:
		x.state = "folder deleted" + renamedAt(m.Name)
	}
	if x.Life = c.lifeOf(m); x.Life > 0 {
		x.state += fmt.Sprintf(" (life %d)", x.Life)
	}
	return x
}

// renamedAt returns the time of deletion that the mail server appends to the name of a
// deleted mailbox (delete_mode: delayed); "" if the name has none.
func renamedAt(name string) string {
	sec, err := strconv.ParseInt(name[strings.LastIndexByte(name, '.')+1:], 16, 64)
	if err != nil {
		return ""
	}
	return " " + local(sec)
}

// folderOf returns the name of a mailbox in the form of its owner, or of an administrator if
// it has no owner. For a deleted mailbox it returns the former name.
func folderOf(c *command, name string) (folder string, deleted bool) {
	conf := c.bucket.Conf
	name, deleted = cyrus.Undeleted(name, conf.String("deletedprefix"))
	form := stores.AdminForm(conf)
	folder = cyrus.FromUTF7(form.External(name))
	userid, _ := cyrus.Owner(name, conf.String("defaultdomain"), "")
	if userid == "" {
		return folder, deleted
	}
	inbox := cyrus.Inbox(userid, conf.String("defaultdomain"))
	if name == inbox {
		return "INBOX", deleted
	}
	below, ok := strings.CutPrefix(name, inbox+".")
	if !ok {
		return folder, deleted
	}
	if !conf.Switch("altnamespace") {
		below = "INBOX." + below
	}
	return cyrus.FromUTF7(form.External(below)), deleted
}

// hits prints the results: as a table, aligned in batches, or as JSON.
type hits struct {
	out     io.Writer
	json    bool
	users   bool // results of several backups
	most    int  // 0 = any number
	shown   int
	headed  bool
	waiting []*hit
	flushed time.Time
}

// batch is the number of lines that are aligned together.
const batch = 200

func newHits(c *command, users bool) *hits {
	return &hits{out: c.out, json: c.json, users: users, most: c.max, flushed: time.Now()}
}

func (h *hits) add(x *hit) error {
	if h.most > 0 && h.shown == h.most {
		return errEnough
	}
	h.shown++
	if h.json {
		w := lines{w: h.out}
		w.line(x)
		return w.err
	}
	h.waiting = append(h.waiting, x)
	if len(h.waiting) < batch {
		return nil
	}
	return h.flush()
}

// inTime prints waiting lines after a time, so that a person sees progress.
func (h *hits) inTime(before func()) error {
	if len(h.waiting) == 0 || time.Since(h.flushed) < time.Second {
		return nil
	}
	before()
	return h.flush()
}

// flush prints the waiting lines.
func (h *hits) flush() error {
	if len(h.waiting) == 0 {
		return nil
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if !h.headed {
		h.line(w, "backup", "folder", "uid", "received", "size", "state", "guid", "from", "subject")
		h.headed = true
	}
	for _, x := range h.waiting {
		h.line(w, x.User, string(x.Folder), fmt.Sprint(x.UID), timespec.Text(x.received), humanize.IBytes(uint64(x.Size)), x.state, x.GUID,
			short(string(x.From), 40), short(string(x.Subject), 80))
	}
	h.waiting, h.flushed = h.waiting[:0], time.Now()
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := h.out.Write(b.Bytes())
	return err
}

func (h *hits) line(w io.Writer, cells ...string) {
	if !h.users {
		cells = cells[1:]
	}
	for i := range cells {
		if cells[i] = visible.Text(cells[i]); cells[i] == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// short shortens a text to the given number of characters.
func short(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
