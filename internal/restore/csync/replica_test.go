package csync_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/replication/client"
)

// replica behaves like sync_server 3.6: RESTORE assigns new uids, crashes on mailbox annotations
// and needs uploads for its own partition; APPLY MAILBOX refuses a uniqueid that another mailbox
// has, and checks the CRC.
type replica struct {
	mu       sync.Mutex
	boxes    map[string]*box // by name
	items    []string        // APPLY lines for account data
	log      []string
	uploads  int
	dieAfter int // uploads until connections break; 0 = never
	users    map[string][]dlist.Pair
	empty    map[cyrus.GUID]bool // empty messages
	poison   map[cyrus.GUID]bool // messages that crash it
	stored   func()              // called before the answer to MAILBOX
	mute     int                 // mailboxes that crash it after it stored their messages, before it responds
}

type box struct {
	fields   []dlist.Pair
	records  []*cyrus.Record
	keywords map[string]bool
}

func field(f []dlist.Pair, key string) string {
	v, _ := dlist.KV(f...).Get(key)
	return v.Str
}

func (b *box) set(key, value string) {
	i := slices.IndexFunc(b.fields, func(p dlist.Pair) bool { return p.Key == key })
	if i < 0 {
		b.fields = append(b.fields, dlist.P(key, dlist.S(value)))
		return
	}
	b.fields[i].Value = dlist.S(value)
}

func (b *box) num(key string) uint64 {
	n, _, _ := dlist.KV(b.fields...).Num64(key)
	return n
}

// head returns the reported fields; the CRCs are computed from the records.
func (b *box) head() []dlist.Pair {
	crc := cyrus.NewCRC()
	for _, r := range b.records {
		crc.Add(r)
	}
	f := slices.DeleteFunc(slices.Clone(b.fields), func(p dlist.Pair) bool { return p.Key == "SYNC_CRC" || p.Key == "SYNC_CRC_ANNOT" })
	return append(f, dlist.P("SYNC_CRC", dlist.N(uint64(crc.Basic))), dlist.P("SYNC_CRC_ANNOT", dlist.N(uint64(crc.Annot))))
}

// dial connects to the replica.
func (r *replica) dial(t *testing.T) func(context.Context) (*client.Client, error) {
	return func(ctx context.Context) (*client.Client, error) {
		ours, theirs := net.Pipe()
		s := &serving{r: r, conn: theirs, staged: map[string]bool{}}
		s.in = bufio.NewReader(theirs)
		s.d = dlist.NewDecoder(s.in, dlist.Limits{})
		go s.serve()
		t.Cleanup(func() { _ = theirs.Close() })
		return client.New(ctx, ours, client.Options{})
	}
}

type serving struct {
	r      *replica
	conn   net.Conn
	in     *bufio.Reader
	d      *dlist.Decoder
	out    []byte
	staged map[string]bool // partition and GUID
}

var errDied = errors.New("died")

func (s *serving) serve() {
	defer s.conn.Close()
	if _, err := io.WriteString(s.conn, "* OK test Cyrus sync server\r\n"); err != nil {
		return
	}
	for {
		s.d.Begin()
		verb, err := s.d.Word()
		if err != nil {
			return
		}
		answer := "OK success"
		s.out = nil
		switch verb {
		case "GET", "APPLY", "RESTORE":
			key, kerr := s.d.Key()
			if kerr != nil {
				return
			}
			s.r.mu.Lock()
			s.r.log = append(s.r.log, verb+" "+key)
			answer, err = s.command(verb, key)
			s.r.mu.Unlock()
		default:
			err = s.d.SkipLine()
			if verb == "RESTART" {
				clear(s.staged)
			}
		}
		if err != nil {
			return
		}
		if _, err := s.conn.Write(append(s.out, answer+"\r\n"...)); err != nil || verb == "EXIT" {
			return
		}
	}
}

func (s *serving) emit(key string, v dlist.Value) {
	s.out = append(dlist.AppendPair(append(s.out, "* "...), dlist.P(key, v), false), "\r\n"...)
}

func (s *serving) command(verb, key string) (string, error) {
	switch {
	case key == "MESSAGE":
		return s.message()
	case key == "MAILBOX" || key == "LOCAL_MAILBOX":
		answer, err := s.mailbox(verb)
		if s.r.stored != nil {
			s.r.stored()
		}
		return answer, err
	}
	v, err := s.d.Value()
	if err == nil {
		err = s.d.End()
	}
	if err != nil {
		return "", err
	}
	if verb == "GET" {
		return s.get(key, v), nil
	}
	switch key {
	case "RESERVE":
		return s.reserve(v), nil
	case "RENAME":
		b := s.r.boxes[field(v.Pairs, "OLDMBOXNAME")]
		delete(s.r.boxes, field(v.Pairs, "OLDMBOXNAME"))
		b.set("MBOXNAME", field(v.Pairs, "NEWMBOXNAME"))
		s.r.boxes[field(v.Pairs, "NEWMBOXNAME")] = b
	case "ANNOTATION":
		if b := s.r.boxes[field(v.Pairs, "MBOXNAME")]; b != nil {
			list, _ := dlist.KV(b.fields...).Get("ANNOTATIONS")
			value, _ := v.Get("VALUE")
			one := dlist.KV(dlist.P("ENTRY", dlist.S(field(v.Pairs, "ENTRY"))), dlist.P("USERID", dlist.S(field(v.Pairs, "USERID"))),
				dlist.P("MODSEQ", dlist.N(0)), dlist.P("VALUE", value))
			b.fields = slices.DeleteFunc(b.fields, func(p dlist.Pair) bool { return p.Key == "ANNOTATIONS" })
			b.fields = append(b.fields, dlist.P("ANNOTATIONS", dlist.L(append(list.Items, one)...)))
		}
	}
	s.r.items = append(s.r.items, key+" "+string(dlist.Append(nil, v, false)))
	return "OK success", nil
}

func (s *serving) get(key string, v dlist.Value) string {
	for _, b := range s.r.boxes {
		wants := func(what string) bool {
			return slices.ContainsFunc(v.Items, func(i dlist.Value) bool { return i.Str == field(b.fields, what) })
		}
		switch {
		case key == "MAILBOXES" && wants("MBOXNAME"), key == "UNIQUEIDS" && wants("UNIQUEID"):
			s.emit("MAILBOX", dlist.KV(b.head()...))
		case key == "FULLMAILBOX" && field(b.fields, "MBOXNAME") == v.Str:
			var list []dlist.Value
			for _, r := range b.records {
				list = append(list, r.DList())
			}
			s.emit("MAILBOX", dlist.KV(append(b.head(), dlist.P("RECORD", dlist.L(list...)))...))
		}
	}
	if key == "USER" {
		for _, p := range s.r.users[v.Str] {
			s.emit(p.Key, p.Value)
		}
	}
	return "OK success"
}

func (s *serving) reserve(v dlist.Value) string {
	partition, names, guids, err := cyrus.ParseReserve(v)
	if err != nil {
		return "BAD " + err.Error()
	}
	list := dlist.L()
	for _, g := range guids {
		found := false
		for _, n := range names {
			if b := s.r.boxes[n]; b != nil && field(b.fields, "PARTITION") == partition {
				found = found || slices.ContainsFunc(b.records, func(r *cyrus.Record) bool { return r.GUID == g })
			}
		}
		if found {
			s.staged[partition+g.String()] = true
		} else {
			list.Items = append(list.Items, dlist.S(g.String()))
		}
	}
	if len(list.Items) > 0 {
		s.emit("MISSING", list)
	}
	return "OK success"
}

func (s *serving) message() (string, error) {
	err := s.d.List(func() error {
		f, body, err := s.d.File()
		if err != nil {
			return err
		}
		sum := sha1.New()
		if _, err := io.Copy(sum, body); err != nil {
			return err
		}
		if cyrus.GUID(sum.Sum(nil)) != f.GUID {
			return errors.New("another SHA-1")
		}
		s.staged[f.Partition+cyrus.GUID(f.GUID).String()] = true
		if s.r.uploads++; s.r.dieAfter > 0 && s.r.uploads%s.r.dieAfter == 0 {
			return errDied
		}
		return nil
	})
	if err == nil {
		err = s.d.End()
	}
	return "OK success", err
}

func (s *serving) mailbox(verb string) (string, error) {
	in := &box{}
	have := false
	err := s.d.KVList(func(key string) error {
		if key != "RECORD" {
			v, err := s.d.Value()
			in.fields = append(in.fields, dlist.P(key, v))
			return err
		}
		have = true
		return s.d.List(func() error {
			r, err := cyrus.ReadRecord(s.d)
			in.records = append(in.records, r)
			return err
		})
	})
	if err == nil {
		err = s.d.End()
	}
	if err == nil && !have {
		err = errDied
	}
	if err != nil {
		return "", err
	}
	last := uint32(0)
	for _, r := range in.records {
		if r.UID <= last {
			return "", errDied
		}
		last = r.UID
	}
	do := s.apply
	if verb == "RESTORE" {
		do = s.restore
	}
	answer, err := do(in)
	if s.r.mute > 0 && err == nil && len(in.records) > 0 {
		s.r.mute--
		return "", errDied
	}
	return answer, err
}

// appended changes a record like mailbox_append_index_record and parse_upload.
func (s *serving) appended(b *box, r *cyrus.Record) (answer string, err error) {
	if b.keywords == nil {
		b.keywords = map[string]bool{}
	}
	for _, f := range r.Flags {
		key := strings.ToLower(f)
		if strings.ContainsAny(f, "( )") || f[0] != '\\' && !b.keywords[key] && len(b.keywords) == 128 {
			return "NO IMAP_PROTOCOL_ERROR Protocol error", nil
		}
		if f[0] != '\\' {
			b.keywords[key] = true
		}
	}
	if s.r.empty[r.GUID] || s.r.poison[r.GUID] {
		return "", errDied
	}
	for _, a := range r.Annotations {
		if a.Entry == "/bad" {
			return "", errDied
		}
	}
	if r.InternalDate == 0 {
		r.InternalDate = 1777777777
	}
	r.Flags = slices.DeleteFunc(r.Flags, func(f string) bool { return f == `\Odd` })
	r.InternalDate &= 0xffffffff
	return "", nil
}

// defaultACL returns the result of mboxlist_create_acl.
func (s *serving) defaultACL(name string) string {
	for {
		i := strings.LastIndexByte(name, '.')
		if name = name[:max(i, 0)]; name == "" || name == "user" {
			return "owner's default"
		}
		if b := s.r.boxes[name]; b != nil {
			return field(b.fields, "ACL")
		}
	}
}

func (s *serving) restore(in *box) (string, error) {
	if _, ok := dlist.KV(in.fields...).Get("ANNOTATIONS"); ok {
		return "", errDied // user_isnamespacelocked
	}
	name := field(in.fields, "MBOXNAME")
	b := s.r.boxes[name]
	if b == nil {
		b = &box{fields: in.fields}
		b.set("MBOXNAME", name)
		if v, _ := dlist.KV(in.fields...).Get("ACL"); v.Kind == dlist.Nil {
			b.set("ACL", s.defaultACL(name))
		}
		if in.num("HIGHESTMODSEQ") == 0 || in.num("UIDVALIDITY") == 0 || field(in.fields, "UNIQUEID") == "" {
			b.set("UNIQUEID", fmt.Sprintf("new%021d", len(s.r.boxes)))
			b.set("UIDVALIDITY", "1800000000")
			b.set("HIGHESTMODSEQ", "1")
		}
		for _, k := range []string{"LAST_UID", "RECENTUID", "RECENTTIME", "POP3_LAST_LOGIN", "LAST_APPENDDATE"} {
			b.set(k, "0")
		}
		s.r.boxes[name] = b
	}
	var added []*cyrus.Record
	for _, r := range in.records {
		if !s.staged[field(b.fields, "PARTITION")+r.GUID.String()] {
			return "NO Unknown error", nil
		}
		if answer, err := s.appended(b, r); answer != "" || err != nil {
			return answer, err
		}
		added = append(added, r)
	}
	for _, r := range added {
		b.set("LAST_UID", fmt.Sprint(b.num("LAST_UID")+1))
		r.UID = uint32(b.num("LAST_UID"))
		b.records = append(b.records, r)
	}
	return "OK success", nil
}

func (s *serving) apply(in *box) (string, error) {
	name := field(in.fields, "MBOXNAME")
	b := s.r.boxes[name]
	for n, o := range s.r.boxes {
		if n != name && field(o.fields, "UNIQUEID") == field(in.fields, "UNIQUEID") {
			return "NO IMAP_MAILBOX_MOVED Mailbox exists with another name or uniqueid", nil
		}
	}
	if b == nil {
		b = &box{}
	} else if since := in.num("SINCE_MODSEQ"); since != 0 && since != b.num("HIGHESTMODSEQ") {
		return "NO IMAP_SYNC_CHANGED Changed since last sync", nil
	}
	records, last := slices.Clone(b.records), b.num("LAST_UID")
	in.keywords = b.keywords
	for _, r := range in.records {
		i := slices.IndexFunc(records, func(o *cyrus.Record) bool { return o.UID == r.UID })
		switch {
		case i >= 0:
			records[i] = r
		case !s.staged[field(in.fields, "PARTITION")+r.GUID.String()]:
			return "NO Unknown error", nil
		case uint64(r.UID) <= last:
			return "NO IMAP_SYNC_CHECKSUM Checksum Failure", nil
		default:
			if answer, err := s.appended(in, r); answer != "" || err != nil {
				return answer, err
			}
			records, last = append(records, r), uint64(r.UID)
		}
	}
	if last > in.num("LAST_UID") {
		return "", errDied // assert
	}
	crc := cyrus.NewCRC()
	for _, r := range records {
		crc.Add(r)
	}
	if !crc.Equal(uint32(in.num("SYNC_CRC")), uint32(in.num("SYNC_CRC_ANNOT"))) {
		return "NO IMAP_SYNC_CHECKSUM Checksum Failure", nil
	}
	b.fields = slices.DeleteFunc(in.fields, func(p dlist.Pair) bool { return len(p.Key) > 6 && p.Key[:6] == "SINCE_" })
	b.records, b.keywords = records, in.keywords
	s.r.boxes[name] = b
	return "OK success", nil
}
