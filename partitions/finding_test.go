package partitions_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/partitions"
)

// gateway passes requests to a store, and can be made to hide features of it.
type gateway struct {
	objstore.Store
	deaf     atomic.Bool // drops the conditions of puts
	noRanges atomic.Bool
	probes   atomic.Int64 // puts below probe/
	refuse   atomic.Int64 // number of conditional puts into a log to answer with 501
}

func (g *gateway) Put(ctx context.Context, key string, b objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	if strings.HasPrefix(key, "probe/") {
		g.probes.Add(1)
	}
	if strings.Contains(key, "/log/") && o.IfAbsent && g.refuse.Add(-1) >= 0 {
		return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Err: objstore.ErrUnsupported}
	}
	if g.deaf.Load() {
		o = objstore.PutOptions{}
	}
	return g.Store.Put(ctx, key, b, o)
}

func (g *gateway) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if g.noRanges.Load() && (off != 0 || n >= 0) {
		return nil, &objstore.Error{Op: "get", Key: key, Err: objstore.ErrUnsupported}
	}
	return g.Store.Get(ctx, key, off, n)
}

func (g *gateway) probed() bool { return g.probes.Swap(0) > 0 }

// The store is probed when the repository is created, and again only after a change of the
// configuration or of the program.
func TestProbedAgain(t *testing.T) {
	g := &gateway{Store: newStore()}
	h := newHost(t, g)
	next := func(what string, want bool, change func()) {
		t.Helper()
		h.stop()
		change()
		if h.set == nil {
			h.start()
		}
		h.sync("anne", newSource("user.anne"))
		if got := g.probed(); got != want {
			t.Errorf("%s: probed %v, want %v", what, got, want)
		}
	}
	next("new repository", true, func() {})
	next("unchanged", false, func() {})
	next("index removed", false, h.removeIndex)
	next("another program version", true, func() { h.opt.Software = "test 2" })
	next("unchanged", false, func() {})
	next("another location", true, func() { h.opt.Partitions[0].Location = "memory, the long way" })
	next("exclusive", true, func() { h.opt.Exclusive = true })
	next("unchanged", false, func() {})
	next("index removed, repository of another program version", true, h.removeIndex)
}

// A store that lacks a required feature is refused before anything is written, and accepted as
// soon as it has the feature.
func TestRefusedStore(t *testing.T) {
	for what, c := range map[string]struct {
		bad  func(*gateway) *atomic.Bool
		want string
	}{
		"conditions": {func(g *gateway) *atomic.Bool { return &g.deaf }, "backup_exclusive: yes"},
		"ranges":     {func(g *gateway) *atomic.Bool { return &g.noRanges }, "Range"},
	} {
		t.Run(what, func(t *testing.T) {
			m := newStore()
			g := &gateway{Store: m}
			bad := c.bad(g)
			bad.Store(true)
			now := time.Now()
			h := newHostWith(t, func(o *partitions.Options) { shortWait(o); o.Now = func() time.Time { return now } }, g)
			try := func() error {
				cl := h.client()
				defer cl.s.Close()
				_, err := cl.sync("anne", newSource("user.anne"))
				return err
			}
			if err := try(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			if keys := objects(t, m, ""); len(keys) > 0 {
				t.Errorf("the refused store contains %v", keys)
			}
			bad.Store(false)
			if g.probed(); try() == nil || g.probed() {
				t.Error("probed again immediately: then every client would cause a probe")
			}
			now = now.Add(2 * time.Minute)
			if err := try(); err != nil {
				t.Errorf("two minutes later, with a working store: %v", err)
			}
		})
	}
}

// A capability that is recorded as missing is probed again, and the record is replaced.
func TestMissingCapabilityIsProbedAgain(t *testing.T) {
	store := withRepository(t)
	was := bytes.ReplaceAll(body(t, store, "repository.json"), []byte(`"if_absent": true`), []byte(`"if_absent": false`))
	replace(t, store, "repository.json", was)
	h := newHostWith(t, shortWait, store)
	h.sync("anne", newSource("user.anne"))
	r := repositoryInfo(t, store)
	if !r.Capabilities.IfAbsent || r.ID == "" || r.Dedup != "partition" || r.Chunker == "" {
		t.Errorf("repository.json: %+v", r)
	}
	for _, k := range objects(t, store, "probe") {
		t.Errorf("the probe left %s", k)
	}
}

// A host is refused if its gateway to the store drops conditions. The recorded capabilities stay
// unchanged, and other hosts continue.
func TestGatewayWithoutConditions(t *testing.T) {
	store := newStore()
	good := newHost(t, store)
	good.sync("anne", newSource("user.anne"))
	before := body(t, store, "repository.json")
	g := &gateway{Store: store}
	g.deaf.Store(true)
	bad := newHostWith(t, func(o *partitions.Options) { shortWait(o); o.Partitions[0].Location = "by a gateway" }, g)
	c := bad.client()
	if _, err := c.sync("bert", newSource("user.bert")); err == nil || !strings.Contains(err.Error(), "backup_exclusive") {
		t.Errorf("a host without conditional puts: %v, want an error with backup_exclusive", err)
	}
	c.s.Close()
	if !bytes.Equal(before, body(t, store, "repository.json")) {
		t.Error("the refused host changed repository.json")
	}
	good.sync("carl", newSource("user.carl"))
}

// backup_exclusive does not turn conditions off: if the store once answers that it does not
// support them, the only writer still does not overwrite a commit of another host.
func TestExclusiveKeepsConditions(t *testing.T) {
	store := newStore()
	g := &gateway{Store: store}
	a := newHostWith(t, func(o *partitions.Options) { shortWait(o); o.Exclusive = true }, g)
	b := newHostWith(t, shortWait, store)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	a.sync("anne", inbox)
	ca := a.client()
	there, _, err := ca.getUser("anne")
	if err != nil {
		t.Fatal(err)
	}
	other := newSource("user.anne.Other")
	b.sync("anne", inbox, other)
	logs := objects(t, store, "backups/user/anne/log")
	newest := logs[len(logs)-1] // unknown to a
	taken := body(t, store, newest)
	inbox.deliver(mail(2, 500))
	g.refuse.Store(1)
	if _, err := ca.update(t.Context(), inbox, there, nil, map[cyrus.GUID]bool{}); err != nil {
		t.Log(err) // the other host's commit may change what the client has to send
	}
	ca.s.Close()
	if !bytes.Equal(taken, body(t, store, newest)) {
		t.Error("the other host's commit was overwritten")
	}
	if g.refuse.Load() >= 0 {
		t.Error("the commit was not refused")
	}
	a.sync("anne", inbox, other)
	checkBucket(t, store, "user/anne", inbox, other)
}

// Credentials that lack a permission below probe/ are sufficient for a repository whose probe
// succeeded before.
func TestProbeDenied(t *testing.T) {
	store := withRepository(t)
	store.SetFaults(func(op, key string) error {
		if strings.HasPrefix(key, "probe/") && op == "delete" {
			return errDenied
		}
		return nil
	}, nil)
	h := newHostWith(t, func(o *partitions.Options) { o.Software = "test 2" }, store)
	h.sync("anne", newSource("user.anne"))
}

// Reading works with credentials that cannot write.
func TestNoProbe(t *testing.T) {
	store := withRepository(t)
	store.SetFaults(func(op, _ string) error {
		if op == "put" || op == "delete" {
			return errDenied
		}
		return nil
	}, nil)
	h := newHostWith(t, func(o *partitions.Options) { o.NoProbe, o.NoCheckpoints, o.Software = true, true, "test 2" }, store)
	if err := h.set.ReindexPath(t.Context(), "user/somebody"); err != nil {
		t.Errorf("reindex with keys that can only read: %v", err)
	}
}

func TestClockDifference(t *testing.T) {
	var log bytes.Buffer
	store := memstore.New(func() time.Time { return time.Now().Add(-3 * time.Hour) })
	h := newHostWith(t, func(o *partitions.Options) {
		o.Logger, o.ClockPause = slog.New(slog.NewTextHandler(&log, nil)), time.Nanosecond
	}, store)
	h.sync("anne", newSource("user.anne"))
	h.stop()
	text := log.String()
	if !strings.Contains(text, "clocks of this host and of the store differ") || !strings.Contains(text, "difference=-3h0m0s") ||
		!strings.Contains(text, " host=20") || !strings.Contains(text, " store=20") {
		t.Errorf("the log is %s", text)
	}
}

// The first connection to a bucket goes through a load balancer that sends requests twice.
func TestFirstRequestsDoubled(t *testing.T) {
	if testing.Short() {
		t.Skip("needs MinIO")
	}
	minio := miniotest.Start(t)
	bucket := minio.NewBucket(t)
	balancer := minio.NewDoubling(t, func(r *http.Request) bool { return r.Method == http.MethodPut })
	store, err := miniostore.Open(balancer.Location(bucket), miniostore.Options{Credentials: minio.Credentials()})
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, store)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	h.sync("anne", inbox)
	h.expectSame("anne", inbox)
	if c := repositoryInfo(t, store).Capabilities; !c.Conditional() || !c.IfMatch || len(c.Notes) > 0 {
		t.Errorf("the recorded capabilities are %+v", c)
	}
}
