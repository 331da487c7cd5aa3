package ctlbackups

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// silentServers is a host whose mail server is silent since yesterday, and another host whose mail server is.
func silentServers(t *testing.T) *tooltest.World {
	t.Helper()
	w := twoIn(t, "default", "cold")
	if err := w.Set.FlushContacts(); err != nil {
		t.Fatal(err)
	}
	for _, k := range []repository.Contact{
		{Client: "repl mail2 [192.0.2.2]", Host: "backup2", Last: w.Now, Unreached: []repository.Refusal{{Backup: "user/zoe", Kind: "damage", Since: w.Now, At: w.Now}}},
		{Client: "repl [192.0.2.1]", Host: "backup1", Last: w.Now},
	} {
		for _, p := range w.Parts {
			if err := k.Put(t.Context(), p.Store); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Now = w.Now.Add(25 * time.Hour)
	return w
}

// forget runs forget-server, and checks parts of its output.
func forget(t *testing.T, w *tooltest.World, failed error, argv []string, want ...string) {
	t.Helper()
	out, err := tool(t, w, append([]string{"forget-server"}, argv...)...)
	if !errors.Is(err, failed) {
		t.Errorf("%q: %v, want %v:\n%s", argv, err, failed, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("%q: no %q in\n%s", argv, text, out)
		}
	}
}

// contactKeys returns the keys of contacts.
func contactKeys(w *tooltest.World) []string {
	return slices.Collect(w.Keys(repository.ContactsPrefix))
}

// A mail server that is gone for good is critical until it is forgotten. Its backups stay, and it is known
// again if it comes back.
func TestForgetServer(t *testing.T) {
	w := silentServers(t)
	daemonStatus(t, w, nil)
	wantStatus(t, w, 2, nil, "critical  mail server repl [192.0.2.1]: no contact since", "ctl_backups forget-server 'repl [192.0.2.1]'",
		"critical  mail server repl mail2 [192.0.2.2]: no contact", "critical  users: 1 backup refused since the last success: zoe")
	forget(t, w, cli.ErrReported, []string{"nobody"}, `forget-server nobody: not found: the known mail servers are "repl [192.0.2.1]", "repl mail2 [192.0.2.2]"`)
	forget(t, w, cli.ErrReported, []string{"repl"}, `forget-server repl: it may mean "repl [192.0.2.1]", "repl mail2 [192.0.2.2]": give the whole name`)
	before := contactKeys(w)
	forget(t, w, nil, []string{"-n", "192.0.2.2", "[192.0.2.1]"}, "forget-server repl mail2 [192.0.2.2]: would be forgotten\n", "forget-server repl [192.0.2.1]: would be forgotten\n")
	if !slices.Equal(contactKeys(w), before) || len(before) != 2 {
		t.Error("a dry run removes contacts")
	}
	wantStatus(t, w, 2, nil, "mail server repl [192.0.2.1]", "mail server repl mail2 [192.0.2.2]")

	forget(t, w, nil, []string{"mail2"}, "forget-server repl mail2 [192.0.2.2]: ok\n  last contact 2026-11-20 12:02:00 +0000; no backup belongs to it\n  the index of backup2 may know it, too: run the same command there\n")
	if out := wantStatus(t, w, 2, nil, "critical  mail server repl [192.0.2.1]"); strings.Contains(out, "mail2") || strings.Contains(out, "zoe") {
		t.Errorf("forgotten, and still there:\n%s", out)
	}
	forget(t, w, nil, []string{"repl [192.0.2.1]"}, "forget-server repl [192.0.2.1]: ok\n", "; 2 backups of it, which stay\n")
	if out := wantStatus(t, w, 1, nil, "warning  mail servers: 2 backups, and no mail server is known here"); strings.Contains(out, "192.0.2.1") || len(contactKeys(w)) != 0 {
		t.Errorf("forgotten, and still there:\n%s%v", out, contactKeys(w))
	}
	if out, err := tool(t, w, "list", "-A"); err != nil || !strings.Contains(out, "bob") || !strings.Contains(out, "carol") {
		t.Errorf("list: %v\n%s", err, out)
	}
	if out, err := tool(t, w, "list", "-t24", "-A"); err != nil || !strings.Contains(out, "bob") {
		t.Errorf("a backup without a mail server is up to date: %v\n%s", err, out)
	}

	m := tooltest.NewMailbox("user.bob")
	w.Sync(m)
	wantStatus(t, w, 0, nil, "repl [192.0.2.1]  2026-11-21 13:03:00 +0000  backup1  2 ")
	forget(t, w, cli.ErrReported, []string{"192.0.2.1"}, "repl [192.0.2.1] was in contact at 2026-11-21 13:03:00 +0000", "stop its sync_client")
}

// If a store fails, the same command finishes it later.
func TestForgetServerAgain(t *testing.T) {
	w := silentServers(t)
	daemonStatus(t, w, nil)
	w.Stores[1].SetFaults(func(op, _ string) error {
		if op == "delete" {
			return memstore.ErrInjected
		}
		return nil
	}, nil)
	forget(t, w, cli.ErrReported, []string{"192.0.2.1"}, "partition cold: ")
	wantStatus(t, w, 2, nil, "mail server repl [192.0.2.1]")
	w.Stores[1].SetFaults(nil, nil)
	forget(t, w, nil, []string{"192.0.2.1"}, "repl [192.0.2.1]: ok")
	if out := wantStatus(t, w, 2, nil); strings.Contains(out, "mail server repl [192.0.2.1]") {
		t.Errorf("forgotten, and still there:\n%s", out)
	}
}

// Without a running daemon, its index and what it has left for status are changed.
func TestForgetServerIdle(t *testing.T) {
	w := silentServers(t)
	path := filepath.Join(t.TempDir(), "index")
	inIndex := func(fn func(*partitions.Set)) {
		t.Helper()
		x, err := index.Open(path, index.Options{})
		if err != nil {
			t.Fatal(err)
		}
		set, err := partitions.Open(partitions.Options{Partitions: w.Parts, Index: x, Host: "backup1", Now: func() time.Time { return w.Now }, NoProbe: true})
		if err != nil {
			t.Fatal(err)
		}
		fn(set)
		if err := errors.Join(set.Close(), x.Close()); err != nil {
			t.Fatal(err)
		}
	}
	inIndex(func(set *partitions.Set) {
		set.Contact("repl [192.0.2.9]")
		set.Contact("repl [192.0.2.8]")
		s, err := set.Status()
		if err != nil {
			t.Fatal(err)
		}
		left := &control.Status{Daemon: control.Daemon{Version: "1.2.3", Since: w.Now, Ended: w.Now}}
		if left.Set, err = json.Marshal(s); err != nil {
			t.Fatal(err)
		}
		if err := control.WriteStatus(control.StatusPath(path), left); err != nil {
			t.Fatal(err)
		}
	})
	w.Now = w.Now.Add(25 * time.Hour)
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: "+w.Dir+"\nservername: backup1\nbackup_control_socket: "+filepath.Join(w.Dir, "none")+"\nbackup_index_path: "+path+"\n", "ctl_backups")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := &command{ctx: t.Context(), now: w.Now, clock: func() time.Time { return w.Now }, out: &out, err: &out,
		open: func(context.Context, string, string) (*cli.Bucket, error) { return cli.NewBucket(conf, w.Parts), nil }}
	if err := c.run([]string{"forget-server", "--ndjson", "192.0.2.9"}); err != nil {
		t.Fatal(err, out.String())
	}
	if want := `{"command":"forget-server","client":"repl [192.0.2.9]","status":"ok","last":"2026-11-21T13:02:00Z","hosts":["backup1"],"backups":0,"objects":0}`; strings.TrimSpace(out.String()) != want {
		t.Errorf("%s\nwant %s", out.String(), want)
	}
	only := func(where string, s *partitions.Status) {
		t.Helper()
		if len(s.Servers) != 1 || s.Servers[0].Client != "repl [192.0.2.8]" {
			t.Errorf("%s: %+v", where, s.Servers)
		}
	}
	left, err := control.ReadStatus(control.StatusPath(path))
	if err != nil || left.Daemon.Version != "1.2.3" {
		t.Fatalf("%+v, %v", left, err)
	}
	s := new(partitions.Status)
	if err := json.Unmarshal(left.Set, s); err != nil {
		t.Fatal(err)
	}
	only("in the file", s)
	inIndex(func(set *partitions.Set) {
		s, err := set.Status()
		if err != nil {
			t.Fatal(err)
		}
		only("in the index", s)
	})
}

// Each mail server that is forgotten has a line in syslog.
func TestForgetServerAudit(t *testing.T) {
	w := silentServers(t)
	daemonStatus(t, w, nil)
	socket := filepath.Join(t.TempDir(), "log")
	log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var out bytes.Buffer
	c := &command{ctx: t.Context(), now: w.Now, clock: func() time.Time { return w.Now }, out: &out, err: &out, audit: cli.Audit{Tool: "ctl_backups", Socket: socket},
		open: func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil }}
	if err := c.run([]string{"forget-server", "192.0.2.1"}); err != nil {
		t.Fatal(err, out.String())
	}
	buf := make([]byte, 4096)
	if err := log.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	n, err := log.Read(buf)
	if line := string(buf[:n]); err != nil || !strings.Contains(line, `forget-server uid=`) || !strings.Contains(line, `what="repl [192.0.2.1]" result=ok`) {
		t.Errorf("%v: %q", err, line)
	}
}
