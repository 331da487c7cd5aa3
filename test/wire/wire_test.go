// Package wire_test replays captured connections of real clients of 3.6, 3.10 and 3.12 against the
// whole server: wire protocol, sessions, packs and commits in a bucket.
package wire_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

const transcripts = "../../replication/testdata/transcripts"

// host is a server with a bucket in memory.
type host struct {
	t     *testing.T
	store objstore.Store
	set   *partitions.Set
	srv   *replication.Server
}

func newHost(t *testing.T) *host {
	t.Helper()
	x, err := index.Open(t.TempDir(), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, store: memstore.New(time.Now)}
	h.set, err = partitions.Open(partitions.Options{
		Partitions: []repository.Config{{Name: "default", Location: "memory", Store: h.store}},
		Index:      x, OutageWait: 30 * time.Second, PatientWait: 30 * time.Second, Names: repository.Names{DefaultDomain: "lab.test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.set.Close(); err != nil {
			t.Error(err)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	auth, err := sasl.New(sasl.Options{AllowPlaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	h.srv, err = replication.NewServer(replication.Options{
		Authenticator: func() *sasl.Authenticator { return auth }, Backend: h,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// NewSession implements replication.Backend.
func (h *host) NewSession(_ context.Context, p replication.Peer) (replication.Session, error) {
	return session.New(h.set, session.Who{Connection: p.ID, Client: p.User}), nil
}

// dial connects like a client on a UNIX socket, which is already logged in.
func (h *host) dial(t *testing.T) *replicationtest.Client {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The error of a closed connection is not a fault of the server.
		_ = h.srv.ServeConn(context.WithoutCancel(t.Context()), theirs, replication.ConnOptions{Unix: true})
	}()
	t.Cleanup(func() { ours.Close(); <-done })
	c, _, err := replicationtest.NewClient(ours)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob(transcripts + "/*/*.c2s")
	if err != nil || len(files) == 0 {
		t.Fatalf("transcripts: %v, %d found", err, len(files))
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(sortKey(a), sortKey(b)) })
	hosts := map[string]*host{}
	for _, file := range files {
		if strings.Contains(file, "sync_server") {
			continue // needs a server with SIEVE-MAILBOX
		}
		s := scenario(file)
		if hosts[s] == nil {
			hosts[s] = newHost(t)
		}
		t.Run(strings.TrimPrefix(file, transcripts+"/"), func(t *testing.T) { replay(t, hosts[s], file) })
	}
	for s, h := range hosts {
		if strings.HasSuffix(s, "/p") {
			continue // the source was reset, so checksums must differ
		}
		h.check(s)
	}
}

// scenario groups transcripts: those of newer clients continue each other, the others start again
// with each letter.
func scenario(file string) string {
	if dir := filepath.Dir(file); strings.HasPrefix(filepath.Base(dir), "3.1") {
		return dir
	}
	return filepath.Dir(file) + "/" + filepath.Base(file)[:1]
}

// sortKey sorts d2 before d11, and a first connection before the second.
func sortKey(file string) string {
	name := strings.TrimSuffix(filepath.Base(file), ".c2s")
	step, rest, _ := strings.Cut(name, "-")
	return fmt.Sprintf("%s/%c%4s-%s", filepath.Dir(file), step[0], step[1:], rest)
}

// replay sends a captured connection. The client did not know our answers, so it sends messages that
// we already hold. If its source was reset to an older state (p), it continues with a delta on the
// state of another server: only that is refused.
func replay(t *testing.T, h *host, file string) {
	said, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	commands, err := replicationtest.Commands(said)
	if err != nil {
		t.Fatal(err)
	}
	c := h.dial(t)
	for _, cmd := range commands {
		if bytes.HasPrefix(cmd, []byte("C01 ")) {
			continue
		}
		r, err := c.Send(cmd)
		if err != nil {
			t.Fatalf("%.100q: %v", cmd, err)
		}
		wentBack := strings.Contains(file, "/p4-") && strings.HasPrefix(r.Status, "NO IMAP_SYNC_CHANGED ")
		if !r.OK() && !wentBack {
			t.Errorf("%.300q\n%s", cmd, r)
		}
	}
}

// check reads every backup from its log alone, and every live message in it.
func (h *host) check(scenario string) {
	h.t.Helper()
	objects := history.NewObjects(h.store, 0)
	cfg := repository.Config{Name: "default", Store: h.store}
	for f, err := range repository.Browse(h.t.Context(), cfg) {
		if err != nil {
			h.t.Fatal(err)
		}
		m, err := f.Load(h.t.Context(), history.Moment{FromLog: true})
		if err != nil {
			h.t.Fatal(err)
		}
		for mb, err := range m.Mailboxes() {
			if err != nil {
				h.t.Fatal(err)
			}
			if mb.Resync != "" {
				h.t.Errorf("%s: %s is in resync: %s", scenario, mb.Name, mb.Resync)
			}
			for r, err := range m.Records(mb.UniqueID, 0) {
				if err != nil {
					h.t.Fatal(err)
				}
				if r.Expunged == 0 {
					h.readBody(m, objects, r)
				}
			}
		}
	}
}

func (h *host) readBody(m *history.Mem, o *history.Objects, r *history.RecordState) {
	h.t.Helper()
	msg, err := m.Message(r.GUID)
	if err != nil || msg == nil {
		h.t.Fatalf("message %s: %v, %v", r.GUID, msg, err)
	}
	body, err := history.OpenMessage(h.t.Context(), o, msg, m.Places)
	if err != nil {
		h.t.Fatal(err)
	}
	defer body.Close()
	if n, err := new(bytes.Buffer).ReadFrom(body); err != nil || n != int64(r.Size) {
		h.t.Errorf("message %s: %d bytes, %v; want %d", r.GUID, n, err, r.Size)
	}
}
