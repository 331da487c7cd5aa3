package fakeserver

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

const ok = "OK Success"

func (c *conn) emit(key string, v dlist.Value) error {
	b := dlist.AppendPair([]byte("* "), dlist.P(key, v), false)
	_, err := c.w.Write(append(b, "\r\n"...))
	return err
}

func (c *conn) value() (dlist.Value, error) {
	v, err := c.d.Value()
	if err != nil {
		return v, err
	}
	return v, c.d.End()
}

func (c *conn) get() (string, error) {
	v, err := c.value()
	if err != nil {
		return "", err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	switch c.key {
	case "USER":
		return ok, c.getUser(v.Str)
	case "MAILBOXES":
		for _, m := range c.s.mailboxes {
			if slices.ContainsFunc(v.Items, func(n dlist.Value) bool { return n.Str == m.head.Name }) {
				if err := c.emit("MAILBOX", dlist.KV(m.head.Fields...)); err != nil {
					return "", err
				}
			}
		}
		return ok, nil
	case "FULLMAILBOX":
		return c.getFull(v.Str)
	case "FETCH":
		return c.fetch(v)
	}
	return "NO IMAP_PROTOCOL_ERROR Protocol error", nil
}

func (c *conn) getUser(userid string) error {
	for _, m := range c.s.mailboxes {
		if owner, _ := cyrus.Owner(m.head.Name, "internal", "DELETED"); owner == userid {
			if err := c.emit("MAILBOX", dlist.KV(m.head.Fields...)); err != nil {
				return err
			}
		}
	}
	if subs := c.s.subs[userid]; len(subs) > 0 {
		v := dlist.Value{Kind: dlist.List}
		for _, s := range subs {
			v.Items = append(v.Items, dlist.S(s))
		}
		return c.emit("LSUB", v)
	}
	return nil
}

func (c *conn) getFull(name string) (string, error) {
	for _, m := range c.s.mailboxes {
		if m.head.Name == name {
			list := dlist.Value{Kind: dlist.List}
			for _, r := range m.records {
				list.Items = append(list.Items, r.DList())
			}
			pairs := append(slices.Clone(m.head.Fields), dlist.P("RECORD", list))
			return ok, c.emit("MAILBOX", dlist.KV(pairs...))
		}
	}
	return "", cyrus.ErrNonexistent
}

func (c *conn) fetch(v dlist.Value) (string, error) {
	f, err := cyrus.ParseFetch(v)
	if err != nil {
		return "", err
	}
	body, found := c.s.bodies[f.GUID]
	if !found {
		return "", cyrus.ErrNonexistent
	}
	head := dlist.AppendFileHead([]byte("* MESSAGE "), dlist.FileInfo{Partition: f.Partition, GUID: f.GUID.String(), Size: uint64(len(body))}, false)
	_, err = c.w.Write(append(append(head, body...), "\r\n"...))
	return ok, err
}

func (c *conn) apply() (string, error) {
	switch c.key {
	case "MESSAGE":
		return c.message()
	case "MAILBOX", "LOCAL_MAILBOX":
		return c.mailbox()
	}
	v, err := c.value()
	if err != nil {
		return "", err
	}
	switch c.key {
	case "RESERVE":
		return c.reserve(v)
	case "SUB":
		userid, name, err := cyrus.ParseSub(v)
		if err != nil || c.s.Null {
			return ok, err
		}
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if !slices.Contains(c.s.subs[userid], name) {
			c.s.subs[userid] = append(c.s.subs[userid], name)
		}
	}
	return ok, nil
}

func (c *conn) reserve(v dlist.Value) (string, error) {
	_, _, guids, err := cyrus.ParseReserve(v)
	if err != nil {
		return "", err
	}
	list := dlist.Value{Kind: dlist.List}
	c.s.mu.Lock()
	for _, g := range guids {
		if _, held := c.s.bodies[g]; !held {
			list.Items = append(list.Items, dlist.S(g.String()))
		}
	}
	c.s.mu.Unlock()
	if len(list.Items) == 0 {
		return ok, nil
	}
	return ok, c.emit("MISSING", list)
}

func (c *conn) message() (string, error) {
	files, nils, size := 0, 0, int64(0)
	err := c.d.List(func() error {
		if k, err := c.d.Peek(); err != nil || k == dlist.Nil {
			nils++
			return errors.Join(err, c.d.Skip())
		}
		f, body, err := c.d.File()
		if err != nil {
			return err
		}
		files++
		size += int64(f.Size)
		if c.s.Null {
			_, err = io.Copy(io.Discard, body)
			return err
		}
		return c.keep(f, body)
	})
	if err == nil {
		err = c.d.End()
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.stats.Messages += files
	c.s.stats.Nils += nils
	c.s.stats.Bytes += size
	return ok, err
}

func (c *conn) keep(f dlist.FileHead, body io.Reader) error {
	var b bytes.Buffer
	if _, err := io.Copy(&b, body); err != nil {
		return err
	}
	g := cyrus.GUID(sha1.Sum(b.Bytes()))
	if g != f.GUID {
		return fmt.Errorf("message %x: %w: its SHA-1 is %s", f.GUID, cyrus.ErrBadParameters, g)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.bodies[g] = b.Bytes()
	return nil
}

func (c *conn) mailbox() (string, error) {
	var fields []dlist.Pair
	var records []*cyrus.Record
	n := 0
	err := c.d.KVList(func(key string) error {
		if key != "RECORD" {
			v, err := c.d.Value()
			fields = append(fields, dlist.P(key, v))
			return err
		}
		return c.d.List(func() error {
			n++
			if c.s.Null {
				return c.d.Skip()
			}
			r, err := cyrus.ReadRecord(c.d)
			records = append(records, r)
			return err
		})
	})
	if err == nil {
		err = c.d.End()
	}
	if err != nil {
		return "", err
	}
	head, since, err := cyrus.ParseMailbox(fields)
	if err != nil {
		return "", err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.stats.Records += n
	if c.s.Null {
		return ok, nil
	}
	return ok, c.s.store(head, since, records)
}

// store merges records into a mailbox, like a replica.
func (s *Server) store(head *cyrus.Mailbox, since cyrus.Since, records []*cyrus.Record) error {
	m := s.mailboxes[head.UniqueID]
	if m == nil {
		m = new(mailbox)
	} else if since.Set && since.ModSeq != m.head.HighestModSeq {
		return cyrus.ErrSyncChanged
	}
	byUID := make(map[uint32]*cyrus.Record)
	for _, r := range slices.Concat(m.records, records) {
		if _, held := s.bodies[r.GUID]; !held && !r.Expunged() {
			return fmt.Errorf("uid %d: %w: message %s was not uploaded", r.UID, cyrus.ErrBadParameters, r.GUID)
		}
		byUID[r.UID] = r
	}
	crc := cyrus.NewCRC()
	merged := make([]*cyrus.Record, 0, len(byUID))
	for _, r := range byUID {
		crc.Add(r)
		merged = append(merged, r)
	}
	if !crc.Equal(head.SyncCRC, head.SyncCRCAnnot) {
		return fmt.Errorf("%s: %w: CRC is %d %d, not %d %d", head.Name, cyrus.ErrBadParameters, crc.Basic, crc.Annot, head.SyncCRC, head.SyncCRCAnnot)
	}
	slices.SortFunc(merged, func(a, b *cyrus.Record) int { return int(int64(a.UID) - int64(b.UID)) })
	m.head, m.records = *head, merged
	s.mailboxes[head.UniqueID] = m
	return nil
}
