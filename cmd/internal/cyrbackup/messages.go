package cyrbackup

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/textproto"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

func listMessages(c *command) error {
	for m, err := range c.mem.DistinctMessages() {
		if err != nil {
			return err
		}
		c.printf("%s\n", m.GUID)
	}
	return nil
}

func listAll(c *command) error {
	for _, part := range []struct {
		heading string
		list    func(*command) error
	}{{"listing chunks:", listChunks}, {"listing mailboxes:", listMailboxes}, {"listing messages:", listMessages}} {
		if err := c.heading(part.heading); err != nil {
			return err
		}
		if err := part.list(c); err != nil {
			return err
		}
		c.printf("\n")
	}
	return nil
}

// heading prints a heading above a list: for people between the lists, and otherwise as Cyrus's cyr_backup
// does, to standard error, after the list before.
func (c *command) heading(text string) error {
	if c.tabular() {
		_, err := fmt.Fprintln(c.out, text)
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.err, text)
	return err
}

// holder is a mailbox that contains a message.
type holder struct {
	guid cyrus.GUID
	box  int32 // in order of creation
}

// holders are the mailboxes that contain messages, in order of the messages.
type holders struct {
	list  []holder
	boxes []*history.MailboxState
}

// where finds the mailboxes that contain messages, in one walk over all records. room is the
// expected number of messages.
func (c *command) where(room int, wanted func(cyrus.GUID) bool) (*holders, error) {
	h := &holders{list: make([]holder, 0, room)}
	for m, err := range c.mem.Mailboxes() {
		if err != nil {
			return nil, err
		}
		for r, err := range c.mem.Records(m.UniqueID, 0) {
			if err != nil {
				return nil, err
			}
			if wanted(r.GUID) {
				h.list = append(h.list, holder{r.GUID, int32(len(h.boxes))})
			}
		}
		h.boxes = append(h.boxes, m)
	}
	slices.SortFunc(h.list, func(a, b holder) int {
		return cmp.Or(bytes.Compare(a.guid[:], b.guid[:]), cmp.Compare(a.box, b.box))
	})
	h.list = slices.Compact(h.list)
	return h, nil
}

// of yields the mailboxes that contain a message, in order of creation.
func (h *holders) of(g cyrus.GUID) iter.Seq[*history.MailboxState] {
	return func(yield func(*history.MailboxState) bool) {
		i, _ := slices.BinarySearchFunc(h.list, g, func(x holder, g cyrus.GUID) int { return bytes.Compare(x.guid[:], g[:]) })
		for ; i < len(h.list) && h.list[i].guid == g; i++ {
			if !yield(h.boxes[h.list[i].box]) {
				return
			}
		}
	}
}

// records returns the number of all records.
func (c *command) records() (n int, err error) {
	for m, err := range c.mem.Mailboxes() {
		if err != nil {
			return 0, err
		}
		n += m.Records
	}
	return n, nil
}

func showMessages(c *command) error {
	guids, err := c.guids()
	if err != nil {
		return err
	}
	in, err := c.where(len(guids), func(g cyrus.GUID) bool { return guids[g] })
	if err != nil {
		return err
	}
	objects := history.NewObjects(c.found.Partition.Store, 0)
	var failed error
	for _, name := range c.names {
		g, err := cyrus.ParseGUID(name)
		if err != nil {
			return err
		}
		m, err := c.mem.Message(g)
		if err != nil {
			return err
		}
		if m == nil {
			cli.Fprintf(c.err, "cyr_backup: %s: no such message in the backup of %s\n", g, c.found.Name())
			failed = cli.ErrReported
			continue
		}
		c.printf("guid:\t%s\nmailboxes:\n", g)
		for mb := range in.of(g) {
			c.printf("\t%s\t%s\n", mb.UniqueID, mb.Name)
		}
		c.printf("headers:\n")
		if err := c.copyHeader(objects, m); err != nil {
			if c.ctx.Err() != nil {
				return err
			}
			cli.Fprintf(c.err, "cyr_backup: %s: %v\n", g, err)
			failed = cli.ErrReported
		}
		c.printf("\n")
	}
	return failed
}

// guids returns the names as GUIDs.
func (c *command) guids() (map[cyrus.GUID]bool, error) {
	out := map[cyrus.GUID]bool{}
	for _, n := range c.names {
		g, err := cyrus.ParseGUID(n)
		if err != nil {
			return nil, cli.Usagef("%q is not a GUID: 40 hex digits", n)
		}
		out[g] = true
	}
	return out, nil
}

func (c *command) open(o *history.Objects, m *history.MessageState) (io.ReadCloser, error) {
	return history.OpenMessage(c.ctx, o, m, c.mem.Places)
}

// copyHeader writes the unmodified header of a message.
func (c *command) copyHeader(o *history.Objects, m *history.MessageState) error {
	body, err := c.open(o, m)
	if err != nil {
		return err
	}
	defer body.Close()
	r := bufio.NewReader(body)
	for begins := true; ; {
		line, err := r.ReadSlice('\n')
		if begins && len(strings.TrimRight(string(line), "\r\n")) == 0 && err == nil || len(line) == 0 && errors.Is(err, io.EOF) {
			return nil
		}
		begins = err == nil // otherwise the rest of a long line follows
		if _, werr := c.out.Write(line); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func dumpMessage(c *command) error {
	g, err := cyrus.ParseGUID(c.names[0])
	if err != nil {
		return cli.Usagef("%q is not a GUID: 40 hex digits", c.names[0])
	}
	m, err := c.mem.Message(g)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("%s: no such message in the backup of %s", g, c.found.Name())
	}
	body, err := c.open(history.NewObjects(c.found.Partition.Store, 0), m)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(c.bytes, body)
	return err
}

func jsonMessages(c *command) error {
	type mailbox struct {
		UniqueID string `json:"uniqueid"`
		Name     string `json:"mboxname"`
	}
	type message struct {
		GUID      string    `json:"guid"`
		Mailboxes []mailbox `json:"mailboxes"`
	}
	room, err := c.records()
	if err != nil {
		return err
	}
	in, err := c.where(room, func(cyrus.GUID) bool { return true })
	if err != nil {
		return err
	}
	return array(c.out, func(add func(any) error) error {
		for m, err := range c.mem.DistinctMessages() {
			if err != nil {
				return err
			}
			one := message{GUID: m.GUID.String(), Mailboxes: []mailbox{}}
			for mb := range in.of(m.GUID) {
				one.Mailboxes = append(one.Mailboxes, mailbox{mb.UniqueID, mb.Name})
			}
			if err := add(one); err != nil {
				return err
			}
		}
		return nil
	})
}

// jsonHeaders maps each GUID to its header fields, unfolded, with their names as written.
func jsonHeaders(c *command) error {
	out := map[string]map[string][]string{}
	objects := history.NewObjects(c.found.Partition.Store, 0)
	guids, err := c.guids()
	if err != nil {
		return err
	}
	for g := range guids {
		m, err := c.mem.Message(g)
		if err != nil {
			return err
		}
		if m == nil {
			return fmt.Errorf("%s: no such message in the backup of %s", g, c.found.Name())
		}
		fields, err := c.header(objects, m)
		if err != nil {
			return err
		}
		out[g.String()] = fields
	}
	enc := json.NewEncoder(c.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

func (c *command) header(o *history.Objects, m *history.MessageState) (map[string][]string, error) {
	body, err := c.open(o, m)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	fields := map[string][]string{}
	const most = 1 << 20 // bytes of a header; more is not a header, or an attack
	r := textproto.NewReader(bufio.NewReader(io.LimitReader(body, most)))
	for {
		line, err := r.ReadContinuedLine()
		if errors.Is(err, io.EOF) || err == nil && line == "" {
			return fields, nil
		}
		if err != nil {
			return nil, err
		}
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = append(fields[name], strings.TrimSpace(value))
		}
	}
}
