package traces_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
	"github.com/cyrusbackup/backupd/replication"
	"github.com/cyrusbackup/backupd/replication/replicationtest"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// host is a server over a bucket in memory. One trace lists everything that it does.
type host struct {
	*trace
	t      *testing.T
	bucket *memstore.Store
	faults *faultstore.Store
	index  *indexTrace
	set    *partitions.Set
	srv    *replication.Server
	reads  bool // list reads of the bucket, too
}

// now is the time of all clocks.
func now() time.Time { return time.Unix(1700000000, 0) }

func newHost(t *testing.T, set func(*partitions.Options)) *host {
	t.Helper()
	h := &host{trace: newTrace(), t: t, bucket: memstore.New(now)}
	h.faults = faultstore.New(observe.New(h.bucket, observe.Hooks{End: h.onStore}))
	h.index = &indexTrace{tr: h.trace}
	x, err := index.Open(t.TempDir(), index.Options{OnCommit: h.index.onCommit})
	if err != nil {
		t.Fatal(err)
	}
	h.index.index = x
	if h.index.held, err = contents(x); err != nil {
		t.Fatal(err)
	}
	o := partitions.Options{
		Partitions: []repository.Config{{Name: "default", Location: "memory", Store: h.faults}},
		Index:      x, OutageWait: 30 * time.Second, PatientWait: 30 * time.Second, Now: now,
		PackBuffers: 1,       // one put of a pack at a time
		InlineLimit: 4 << 10, // a mail of 5 KB goes into a pack
	}
	if set != nil {
		set(&o)
	}
	if h.set, err = partitions.Open(o); err != nil {
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

func (h *host) onStore(e observe.Event) {
	if e.Op != "put" && e.Op != "delete" && !h.reads {
		return
	}
	if strings.HasPrefix(e.Key, "probe") {
		h.add(probed)
		return
	}
	outcome := ""
	if e.Err != nil {
		outcome = ": " + strings.ReplaceAll(e.Outcome, "_", " ")
	}
	h.add("    %-6s %s%s", e.Op, e.Key, outcome)
}

// strike makes the next matching call fail. If late is set, the store does its work and only
// the answer is lost.
func (h *host) strike(op, part string, late bool, fault func(op, key string) error) {
	f := faultstore.Fault{Count: 1, Match: func(o, key string) bool { return o == op && strings.Contains(key, part) }}
	strike := func(op, key string) error {
		err := fault(op, key)
		h.add("    %-6s %s ! %v", op, key, cause(err))
		return err
	}
	if late {
		f.After = strike
	} else {
		f.Before = strike
	}
	h.faults.Add(f)
}

// dial connects a client. It is logged in already, as on a UNIX socket.
func (h *host) dial() *client {
	h.t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The client just hangs up, which is an error here.
		_ = h.srv.ServeConn(context.WithoutCancel(h.t.Context()), answers{theirs, h.trace}, replication.ConnOptions{Unix: true})
	}()
	hangUp := func() { ours.Close(); <-done }
	h.t.Cleanup(hangUp)
	c, _, err := replicationtest.NewClient(ours)
	if err != nil {
		h.t.Fatal(err)
	}
	return &client{t: h.t, h: h, wire: c, hangUp: hangUp}
}

// answers adds each line of an answer to the trace before the client can read it.
type answers struct {
	net.Conn
	tr *trace
}

func (a answers) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if line = strings.TrimRight(line, "\r\n"); !strings.HasPrefix(line, "* OK") {
			a.tr.add("S: %s", shortened(line))
		}
	}
	return a.Conn.Write(p)
}
