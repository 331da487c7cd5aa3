package fakeserver

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

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
	case "META":
		return ok, c.meta(v.Str, "QUOTA")
	case "QUOTA":
		return ok, c.quota(v.Str)
	case "MAILBOXES", "UNIQUEIDS":
		for _, m := range c.s.mailboxes {
			name := m.head.Name
			if c.key == "UNIQUEIDS" {
				name = m.head.UniqueID
			}
			if slices.ContainsFunc(v.Items, func(n dlist.Value) bool { return n.Str == name }) {
				if err := c.emit("MAILBOX", dlist.KV(m.reported()...)); err != nil {
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

// getUser reports a user, but nothing of one without a mailbox, as Cyrus 3.6 and later
// (imap/sync_support.c, sync_get_user).
func (c *conn) getUser(userid string) error {
	exists := false
	for _, m := range c.s.mailboxes {
		if owner, _ := cyrus.Owner(m.head.Name, "internal", "DELETED"); owner == userid {
			exists = true
			if err := c.emit("MAILBOX", dlist.KV(m.reported()...)); err != nil {
				return err
			}
		}
	}
	if !exists {
		return nil
	}
	return c.meta(userid, "")
}

// quota reports the quota of a root.
func (c *conn) quota(root string) error {
	owner, _ := cyrus.Owner(root, "internal", "DELETED")
	for _, p := range c.s.accounts[owner] {
		if of, _, _ := p.Value.Text("ROOT"); p.Key == "QUOTA" && of == root {
			return c.emit(p.Key, p.Value)
		}
	}
	return nil
}

// meta reports what a user has beside mailboxes, except one kind of it.
func (c *conn) meta(userid, without string) error {
	for _, p := range c.s.accounts[userid] {
		if p.Key == without {
			continue
		}
		if err := c.emit(p.Key, p.Value); err != nil {
			return err
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
			pairs := append(m.reported(), dlist.P("RECORD", list))
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
	case "UNUSER":
		c.s.removeUser(v.Str)
	case "UNMAILBOX":
		c.s.removeMailbox(v.Str)
	case "SIEVE", "ACTIVATE_SIEVE", "QUOTA":
		return ok, c.account(v)
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
	if c.verb == "RESTORE" {
		fields = withDefaults(fields)
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
	if c.verb == "RESTORE" && c.s.named(head.Name) != nil && n == 0 {
		return ok, nil // unchanged (imap/sync_support.c, sync_restore_mailbox)
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

// named returns the mailbox of a name; nil = none. The caller holds mu.
func (s *Server) named(name string) *mailbox {
	for _, m := range s.mailboxes {
		if m.head.Name == name {
			return m
		}
	}
	return nil
}

// removeMailbox removes a mailbox.
func (s *Server) removeMailbox(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range s.mailboxes {
		if m.head.Name == name {
			delete(s.mailboxes, id)
		}
	}
}

// removeUser removes a user with all mailboxes, except deleted ones.
func (s *Server) removeUser(userid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range s.mailboxes {
		if owner, _ := cyrus.Owner(m.head.Name, "internal", "DELETED"); owner == userid && !cyrus.IsDeleted(m.head.Name, "DELETED") {
			delete(s.mailboxes, id)
		}
	}
	delete(s.subs, userid)
	delete(s.accounts, userid)
}

// account stores a script, which script is active, or a quota, as GET USER reports it.
func (c *conn) account(v dlist.Value) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.key == "QUOTA" {
		q, err := cyrus.ParseQuota(v)
		if owner, _ := cyrus.Owner(q.Root, "internal", "DELETED"); err == nil {
			c.s.accounts[owner] = append(c.s.accounts[owner], dlist.P("QUOTA", dlist.KV(q.Fields...)))
		}
		return err
	}
	if c.key == "ACTIVATE_SIEVE" {
		userid, name, err := cyrus.ParseUserFile(v)
		for _, p := range c.s.accounts[userid] {
			if file, _, _ := p.Value.Text("FILENAME"); p.Key == "SIEVE" && strings.TrimSuffix(file, ".script") == strings.TrimSuffix(name, ".bc") {
				p.Value.Pairs[3].Value = dlist.N(1)
			}
		}
		return err
	}
	f, err := cyrus.ParseSieve(v)
	guid := cyrus.GUID(sha1.Sum([]byte(f.Content)))
	c.s.accounts[f.UserID] = append(c.s.accounts[f.UserID], dlist.P("SIEVE", dlist.KV(dlist.P("FILENAME", dlist.S(f.Filename)),
		dlist.P("LAST_UPDATE", dlist.N(uint64(f.LastUpdate))), dlist.P("GUID", dlist.S(guid.String())), dlist.P("ISACTIVE", dlist.N(0)))))
	return err
}

// withDefaults replaces what RESTORE may leave to the server.
func withDefaults(fields []dlist.Pair) []dlist.Pair {
	out := slices.Clone(fields)
	set := func(key string, v dlist.Value) {
		i := slices.IndexFunc(out, func(p dlist.Pair) bool { return p.Key == key })
		switch {
		case i < 0:
			out = append(out, dlist.P(key, v))
		case out[i].Value.Kind == dlist.Nil:
			out[i].Value = v
		}
	}
	set("PARTITION", dlist.S("default"))
	set("ACL", dlist.S("owner\tlrswipkxtecda\t"))
	for _, key := range []string{"SYNC_CRC", "SYNC_CRC_ANNOT", "LAST_UID", "RECENTUID", "RECENTTIME", "LAST_APPENDDATE", "POP3_LAST_LOGIN"} {
		set(key, dlist.N(0))
	}
	return out
}

// reported returns the fields of a mailbox, with the checksums of its records. The caller holds mu.
func (m *mailbox) reported() []dlist.Pair {
	crc := cyrus.NewCRC()
	for _, r := range m.records {
		crc.Add(r)
	}
	out := slices.DeleteFunc(slices.Clone(m.head.Fields), func(p dlist.Pair) bool { return p.Key == "SYNC_CRC" || p.Key == "SYNC_CRC_ANNOT" })
	return append(out, dlist.P("SYNC_CRC", dlist.N(uint64(crc.Basic))), dlist.P("SYNC_CRC_ANNOT", dlist.N(uint64(crc.Annot))))
}
