package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/objstore/probe"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const (
	sitePack  = 16 << 20 // size of a pack
	siteGroup = 64       // backups whose bodies share packs, as after a merge of many backups
	siteAge   = 2        // days after which mail is deleted
)

// site puts generated backups into a bucket, as the objects that daemons would have put: faster
// than any client, and with any history.
type site struct {
	store objstore.Store
	days  *days
	users []*siteUser
}

// siteUser is a generated backup with one mailbox.
type siteUser struct {
	path string
	tip  history.Tip
	uid  uint32 // of the last message
}

// newSite begins a repository with the backups of some users.
func newSite(ctx context.Context, s objstore.Store, d *days, users int) (*site, error) {
	info := repository.Info{Version: repository.Version, ID: repository.NewID(), Created: d.now(), Software: "bench", Dedup: "partition", Chunker: repository.Chunker,
		Capabilities: probe.Capabilities{IfAbsent: true, IfAbsentRace: true, IfMatch: true, Range: true, Suffix: true, ListOrder: true, StoreTime: true}}
	b, err := info.Encode()
	if err != nil {
		return nil, err
	}
	x := &site{store: s, days: d}
	if err := x.put(ctx, repository.Key, b); err != nil {
		return nil, err
	}
	for i := range users {
		name := repository.UserName(fmt.Sprintf("user%04d", i))
		u := &siteUser{path: name.Path()}
		b, err := json.Marshal(repository.BackupInfo{Version: 1, Name: name.Full, Kind: name.Kind, Created: d.now(), ID: repository.NewID()})
		if err == nil {
			err = x.put(ctx, repository.BackupInfoKey(u.path), b)
		}
		if err != nil {
			return nil, err
		}
		x.users = append(x.users, u)
	}
	return x, nil
}

func (x *site) put(ctx context.Context, key string, b []byte) error {
	_, err := x.store.Put(ctx, key, bytes.NewReader(b), objstore.PutOptions{})
	return err
}

// siteMail is a generated message, and the pack that has it.
type siteMail struct {
	history.Message
	pack int // number in the packs of its group and day; -1: inline
	body []byte
}

// generate makes a message of about 700 bytes. Some are the same for all users of a group.
func (x *site) generate(group, user, uid int) siteMail {
	if uid%50 == 0 {
		user = group * siteGroup
	}
	r := rand.New(rand.NewPCG(uint64(user), uint64(uid)))
	noise := make([]byte, 120)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	body := fmt.Appendf(nil, "From: someone@example.com\r\nTo: user%04d@example.com\r\nSubject: generated %d\r\n\r\n", user, uid)
	for range 4 {
		body = fmt.Appendf(body, "These are the words of an ordinary message, which a compressor knows: %d\r\n", r.Uint32N(100))
	}
	body = append(base64.StdEncoding.AppendEncode(body, noise), "\r\n"...)
	guid, chunk := sha1.Sum(body), sha256.Sum256(body)
	return siteMail{history.Message{GUID: guid, Size: int64(len(body)), Chunks: []history.ChunkID{chunk}}, -1, body}
}

// deliver commits a day's mail of every user: n messages each. Mail is deleted after siteAge
// days: on one day in three all of a day, otherwise seven tenths of it.
func (x *site) deliver(ctx context.Context, day, n int) error {
	groups := make(chan int)
	var all sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for w := range errs {
		all.Go(func() {
			for g := range groups {
				if errs[w] == nil {
					errs[w] = x.group(ctx, g, day, n)
				}
			}
		})
	}
	for g := 0; g*siteGroup < len(x.users); g++ {
		groups <- g
	}
	close(groups)
	all.Wait()
	return errors.Join(errs...)
}

// group delivers to the users of a group: first packs, and then commits that name them.
func (x *site) group(ctx context.Context, g, day, n int) error {
	users := x.users[g*siteGroup : min((g+1)*siteGroup, len(x.users))]
	mail := make([][]siteMail, len(users))
	packs := &sitePacks{site: x, w: pack.NewWriter(nil, pack.Options{})}
	for i := range users {
		for k := range n {
			m := x.generate(g, g*siteGroup+i, int(users[i].uid)+k+1)
			if err := packs.add(ctx, &m); err != nil {
				return err
			}
			mail[i] = append(mail[i], m)
		}
	}
	if err := packs.flush(ctx); err != nil {
		return err
	}
	var deleted []uint32
	for k := 0; day >= siteAge && k < n; k++ {
		if day%3 == 0 || k%10 < 7 {
			deleted = append(deleted, uint32((day-siteAge)*n+k+1))
		}
	}
	for i, u := range users {
		if err := x.commit(ctx, u, mail[i], packs.keys, deleted); err != nil {
			return err
		}
	}
	return nil
}

// sitePacks are the packs of a group and day.
type sitePacks struct {
	*site
	w    *pack.Writer
	in   map[cyrus.GUID]int // the number of the pack
	keys []string
}

// add adds a message, unless another user of the group has it.
func (p *sitePacks) add(ctx context.Context, m *siteMail) error {
	if p.in == nil {
		p.in = map[cyrus.GUID]int{}
	}
	if at, ok := p.in[m.GUID]; ok {
		m.pack, m.body = at, nil
		return nil
	}
	if p.w.Len() > sitePack {
		if err := p.flush(ctx); err != nil {
			return err
		}
	}
	m.pack = len(p.keys)
	p.in[m.GUID] = m.pack
	err := p.w.Put(pack.MessageName(m.GUID), m.body)
	m.body = nil
	return err
}

func (p *sitePacks) flush(ctx context.Context) error {
	if p.w.Count() == 0 {
		return nil
	}
	b, err := p.w.Finish()
	if err != nil {
		return err
	}
	key := history.PackKey(sha256.Sum256(b))
	p.keys = append(p.keys, key)
	if err := p.put(ctx, key, b); err != nil {
		return err
	}
	p.w.Reset()
	return nil
}

// commit puts the next commit of a backup.
func (x *site) commit(ctx context.Context, u *siteUser, mail []siteMail, packs []string, deleted []uint32) error {
	key, object, err := x.build(u, mail, packs, deleted)
	if err != nil {
		return err
	}
	return x.put(ctx, key, object)
}

// build makes the next commit of a backup. Mail without a body was delivered before.
func (x *site) build(u *siteUser, mail []siteMail, packs []string, deleted []uint32) (key string, object []byte, err error) {
	now := x.days.now()
	h := history.Header{Backup: u.path, Number: u.tip.Number + 1, Prev: u.tip.Hash, Time: now, Host: "bench", Clock: now, Connection: "bench", Client: "bench"}
	b := history.NewBuilder(h, pack.Options{})
	var errs []error
	event := func(e history.Event) { errs = append(errs, b.Event(e)) }
	if h.Number == 1 {
		event(&history.MailboxEvent{UniqueID: "inbox", Name: u.path, Fields: []dlist.Pair{dlist.P("UNIQUEID", dlist.S("inbox")), dlist.P("MBOXNAME", dlist.S(u.path))}})
	}
	for from := 0; from < len(mail); from += history.MaxMessagesPerEvent {
		e := &history.MessagesEvent{}
		for _, m := range mail[from:min(from+history.MaxMessagesPerEvent, len(mail))] {
			e.Messages = append(e.Messages, m.Message)
		}
		if mail[from].pack >= 0 || mail[from].body != nil {
			event(e)
		}
	}
	for _, m := range mail {
		u.uid++
		place := history.Place{Chunk: m.Chunks[0], Object: ".", Entry: m.GUID.String() + ".eml"}
		switch {
		case m.pack >= 0:
			place.Object = packs[m.pack]
			b.Place(place)
		case m.body != nil:
			b.Inline(place.Entry, m.body)
			b.Place(place)
		}
		errs = append(errs, b.Record("inbox", &cyrus.Record{UID: u.uid, ModSeq: uint64(u.uid), LastUpdated: now.Unix(), InternalDate: now.Unix(), Size: uint32(m.Size), GUID: m.GUID, Flags: []string{`\Seen`}}))
	}
	if len(deleted) > 0 {
		event(&history.ExpungeEvent{UniqueID: "inbox", UIDs: deleted})
		event(&history.PruneEvent{Before: now.AddDate(0, 0, -1)}) // as nightly retention would have
	}
	object, hash, err := b.Finish(nil)
	if err = errors.Join(append(errs, err)...); err != nil {
		return "", nil, err
	}
	u.tip = history.Tip{Number: h.Number, Hash: fmt.Sprintf("%x", hash), Time: h.Time}
	return history.LogKey(u.path, h.Number), object, nil
}
