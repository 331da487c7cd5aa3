package restore

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// The limits for one message, regardless of the size of the backup.
const (
	usersMessages = 20000
	mostBytes     = 5_000_000
	mostRequests  = 60 // plus one for each commit after the newest checkpoint
)

// TestOneMessageReadsLittle restores one message of a large user from a real MinIO, and counts
// all bytes from there.
func TestOneMessageReadsLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("pushes 100 MB into a MinIO")
	}
	minio := miniotest.Start(t)
	bucket := minio.NewBucket(t)
	store, err := miniostore.Open(minio.Location(bucket), miniostore.Options{Credentials: minio.Credentials()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	x, err := index.Open(filepath.Join(dir, "index"), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	set, err := partitions.Open(partitions.Options{Index: x, Host: "host", Software: "test",
		Partitions: []repository.Config{{Name: "default", Location: bucket, Store: store}}})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	u := &largeUser{t: t, s: session.New(set, session.Who{Connection: "c1", Client: "test"})}
	defer u.s.Close()
	u.deliver(usersMessages)
	wanted := u.records[usersMessages/3].GUID

	proxy := minio.NewProxy(t)
	for _, kv := range minio.Env() {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	config := filepath.Join(dir, "imapd.conf")
	text := "configdirectory: " + dir + "\nbackuppartition-default: " + proxy.Location(bucket).String() + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &history.Log{Store: store, Backup: repository.UserName("anne").Path()}
	one := func(t *testing.T) {
		to := t.TempDir()
		atMost := mostRequests + behind(t, log)
		before := proxy.Traffic()
		var out, complaint bytes.Buffer
		err := run(t.Context(), []string{"-C", config, "--to", "eml:" + to, "anne", wanted.String()}, stdio{strings.NewReader(""), &out, &complaint, cli.Audit{}})
		if err != nil {
			t.Fatalf("%v: %s", err, complaint.Bytes())
		}
		after := proxy.Traffic()
		read, requests := after.Answered-before.Answered, after.Requests-before.Requests
		t.Logf("%d bytes read in %d requests", read, requests)
		if read > mostBytes || requests > atMost {
			t.Errorf("%d bytes in %d requests were read for one message; at most %d in %d", read, requests, mostBytes, atMost)
		}
		if got := bodies(t, to); len(got) != 1 || got[0] != hex.EncodeToString(wanted[:]) {
			t.Errorf("restored %q", got)
		}
	}
	t.Run("log", one)

	// Enough further log for an automatic checkpoint, and some commits after it.
	for n := 0; ; n++ {
		if found, err := log.Checkpoints(t.Context()); err != nil || len(found) > 0 {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		switch { // it is written in the background; a busy machine needs some time
		case n < 20:
			u.change(50)
		case n < 620:
			time.Sleep(100 * time.Millisecond)
		default:
			t.Fatal("no checkpoint is written")
		}
	}
	u.change(20)
	t.Run("checkpoint", one)
}

// behind returns the number of commits after the newest checkpoint. Checkpoints are written in
// the background, so a slow machine has more such commits.
func behind(t *testing.T, log *history.Log) int {
	found, err := log.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var checkpoint uint64
	if len(found) > 0 {
		checkpoint = found[0]
	}
	newest, err := log.Newest(t.Context(), checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	return int(newest - checkpoint)
}

func bodies(t *testing.T, dir string) (sums []string) {
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".eml" {
			return err
		}
		b, err := os.ReadFile(path)
		sums = append(sums, fmt.Sprintf("%x", sha1.Sum(b)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// largeUser returns anne with an INBOX.
type largeUser struct {
	t       *testing.T
	s       *session.Session
	records []*cyrus.Record
	changes int
}

// deliver uploads generated messages of 5 KB, like a first run of sync_client.
func (u *largeUser) deliver(n int) {
	random := rand.New(rand.NewPCG(1, 2))
	for uid := range uint32(n) {
		body := fmt.Appendf(nil, "From: a@example.org\r\nTo: anne@example.org\r\nSubject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\n", uid, uid)
		for len(body) < 5000 {
			body = fmt.Appendf(body, "%08x and words that anybody uses, again and again %d\r\n", random.Uint32(), random.IntN(1000))
		}
		r := &cyrus.Record{UID: uid + 1, ModSeq: uint64(uid) + 2, LastUpdated: 1700000000, InternalDate: 1700000000 + int64(uid),
			Size: uint32(len(body)), GUID: sha1.Sum(body), Flags: []string{`\Seen`}}
		if err := u.s.Message(u.t.Context(), "default", r.GUID, int64(len(body)), bytes.NewReader(body)); err != nil {
			u.t.Fatal(err)
		}
		u.records = append(u.records, r)
	}
	crc := cyrus.NewCRC()
	for _, r := range u.records {
		crc.Add(r)
	}
	head, _, err := cyrus.ParseMailbox([]dlist.Pair{
		dlist.P("UNIQUEID", dlist.S("inbox-of-anne-0000000000")), dlist.P("MBOXNAME", dlist.S("user.anne")),
		dlist.P("SYNC_CRC", dlist.N(uint64(crc.Basic))), dlist.P("SYNC_CRC_ANNOT", dlist.N(uint64(crc.Annot))),
		dlist.P("LAST_UID", dlist.N(uint64(n))), dlist.P("HIGHESTMODSEQ", dlist.N(uint64(n)+2)),
		dlist.P("RECENTUID", dlist.N(0)), dlist.P("RECENTTIME", dlist.N(0)), dlist.P("LAST_APPENDDATE", dlist.N(1700000000)),
		dlist.P("POP3_LAST_LOGIN", dlist.N(0)), dlist.P("POP3_SHOW_AFTER", dlist.N(0)),
		dlist.P("UIDVALIDITY", dlist.N(1700000000)), dlist.P("PARTITION", dlist.S("default")),
		dlist.P("ACL", dlist.S("anne\tlrswipkxtecdan\t")), dlist.P("OPTIONS", dlist.S("P")),
	})
	if err != nil {
		u.t.Fatal(err)
	}
	all := func(yield func(*cyrus.Record, error) bool) {
		for _, r := range u.records {
			if !yield(r, nil) {
				return
			}
		}
	}
	if err := u.s.ApplyMailbox(u.t.Context(), head, cyrus.Since{}, all); err != nil {
		u.t.Fatal(err)
	}
	u.s.Restart(u.t.Context())
}

// change makes n small commits.
func (u *largeUser) change(n int) {
	for range n {
		u.changes++
		if err := u.s.ApplySub(u.t.Context(), "anne", fmt.Sprint("user.anne.", u.changes), true); err != nil {
			u.t.Fatal(err)
		}
	}
}
