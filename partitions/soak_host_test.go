package partitions_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// soakHost is a backup host of a world. It reaches each bucket through its own network.
type soakHost struct {
	w           *soak
	name        string
	dir         string
	nets        []*faultstore.Store // by partition
	off         atomic.Int64        // error of its clock in nanoseconds
	index       *index.Index
	set         *partitions.Set
	conn        *client // an open connection; nil = none
	knows       map[string]bool
	former      string       // a former copy of its index; "" = none
	vague       bool         // its index is older than a rollback of a bucket: it can detect that at any time
	stale       bool         // former is vague
	shaken      bool         // a bucket was rolled back: the next start does not trust the index of it
	lives       int          // number of starts
	dieAt       atomic.Int64 // number of index transactions until it dies; 0 = it does not die
	doubts      atomic.Bool  // it could not prove the packs of a late commit, perhaps: it asks its client again
	dead        atomic.Bool  // it was killed: its requests no longer reach a bucket
	killedIndex string       // a copy of its index when it was killed

	trouble []bool // by partition: calls may fail
}

// soakInline is the size of a message that does not fit into a commit.
const soakInline = 2 << 10

var errKilled = errors.New("the process was killed")

func (w *soak) newHost(i int) *soakHost {
	h := &soakHost{w: w, name: fmt.Sprintf("h%d", i), knows: map[string]bool{}}
	h.dir = filepath.Join(w.dir, h.name)
	for _, p := range w.parts {
		h.nets = append(h.nets, faultstore.New(p.store))
	}
	h.calm()
	return h
}

// calm ends all trouble of the networks.
func (h *soakHost) calm() {
	h.trouble = make([]bool, len(h.nets))
	h.dieAt.Store(0)
	for _, n := range h.nets {
		n.Clear()
		n.Add(faultstore.Fault{Before: func(op, key string) error {
			if h.dead.Load() {
				return &objstore.Error{Op: op, Key: key, Err: errKilled}
			}
			return nil
		}})
	}
}

func (h *soakHost) start() (err error) {
	h.lives++
	if h.shaken {
		clear(h.knows)
	}
	h.shaken = false
	h.dieAt.Store(0)
	if h.index, err = index.Open(h.dir, index.Options{OnCommit: h.onCommit}); err != nil {
		return err
	}
	wait := 20 * time.Millisecond // short, so that the client receives every error immediately
	if h.w.one(4) {
		wait = 200 * time.Millisecond // some calls are retried
	}
	o := partitions.Options{
		Index: h.index, Host: h.name, Software: "soak", Logger: slog.New(slog.NewTextHandler(h.logging(), &slog.HandlerOptions{Level: slog.LevelInfo})),
		InlineLimit: soakInline, PackSize: 16 << 10, PackBuffers: 2, CheckpointObject: 7,
		OutageWait: wait, PatientWait: wait, MissingRetry: 5 * time.Minute,
		Now:        func() time.Time { return h.w.clock.now().Add(time.Duration(h.off.Load())) },
		ClockPause: time.Nanosecond,
	}
	for i, p := range h.w.parts {
		o.Partitions = append(o.Partitions, repository.Config{Name: p.name, Location: "memory", Store: h.nets[i]})
	}
	h.set, err = partitions.Open(o)
	return err
}

// onCommit counts a commit of the index before the commit happens.
func (h *soakHost) onCommit(commit func() error) error {
	h.countdown()
	return commit()
}

// logging returns a writer that adds the host's log to the story.
func (h *soakHost) logging() *soakLog { return &soakLog{h: h} }

type soakLog struct{ h *soakHost }

func (l *soakLog) Write(b []byte) (int, error) {
	_, line, _ := strings.Cut(string(bytes.TrimSpace(b)), "level=")
	l.h.w.logged(l.h.name + " " + line)
	if strings.Contains(line, "a commit arrived long after its packs were checked") {
		l.h.doubts.Store(true)
	}
	return len(b), nil
}

func (h *soakHost) hangUp() {
	if h.conn != nil {
		h.conn.s.Close()
		h.conn = nil
	}
}

func (h *soakHost) stop() error {
	if h.set == nil {
		return nil
	}
	h.hangUp()
	err := errors.Join(h.set.Close(), h.index.Close())
	h.set = nil
	return err
}

// restart stops the process and starts it again. meanwhile runs in between.
func (h *soakHost) restart(meanwhile func() error) error {
	if err := h.stop(); err != nil {
		return err
	}
	if meanwhile != nil {
		if err := meanwhile(); err != nil {
			return err
		}
	}
	return h.start()
}

// loseIndex restarts the process with a new index.
func (h *soakHost) loseIndex() error {
	clear(h.knows)
	h.vague = false
	return h.restart(func() error { return os.RemoveAll(h.dir) })
}

// die kills the process: the next start finds its index as of this moment.
func (h *soakHost) die(string, string) {
	if h.dead.Load() {
		return
	}
	to := filepath.Join(h.w.dir, fmt.Sprintf("%s.%d", h.name, h.lives))
	copyIndex(h.w.t, h.dir, to)
	h.killedIndex = to
	h.dead.Store(true)
}

// countdown kills the process in the middle of its index transactions.
func (h *soakHost) countdown() {
	if h.dieAt.Load() > 0 && h.dieAt.Add(-1) == 0 {
		h.die("", "")
	}
}

// restartKilled restarts hosts that were killed.
func (w *soak) restartKilled() error {
	for _, h := range w.hosts {
		if !h.dead.Load() {
			continue
		}
		w.note("%s was killed, and starts again", h.name)
		w.counts["killed"]++
		clear(h.knows)
		err := h.restart(func() error {
			h.calm()
			h.dead.Store(false)
			return errors.Join(os.RemoveAll(h.dir), os.Rename(h.killedIndex, h.dir))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// connection returns the open connection, or a new one.
func (h *soakHost) connection() *client {
	if h.conn == nil || h.w.one(3) {
		h.hangUp()
		h.conn = &client{h.w.t, session.New(h.set, session.Who{Connection: fmt.Sprint("c", h.w.number()), Client: "mail.example.org"})}
	}
	return h.conn
}
