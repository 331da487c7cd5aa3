package ctlbackups

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// daemonStatus makes a daemon that answers status with what the Set knows, changed, and forget-server.
func daemonStatus(t *testing.T, w *tooltest.World, change func(*control.Status, *partitions.Status)) {
	t.Helper()
	daemon(t, w, func(_ context.Context, r control.Request, part func(any) error) control.Reply {
		if r.Op == "forget-server" {
			if err := w.Set.ForgetServer(t.Context(), r.Client); err != nil {
				return control.Reply{Error: err.Error()}
			}
			return control.Reply{}
		}
		if r.Op != "status" {
			return control.Reply{Error: "this backupd does not know the operation " + r.Op}
		}
		s, err := w.Set.Status()
		if err != nil {
			return control.Reply{Error: err.Error()}
		}
		out := control.Status{Daemon: control.Daemon{Version: "1.2.3", PID: 7, Since: w.Now.Add(-time.Hour),
			Connections: []control.Connection{{User: "repl", Host: "[192.0.2.1]", Since: w.Now}},
			Index:       control.Index{Open: true, Bytes: 5 << 20, Free: 9 << 30, Reserve: 128 << 20}}}
		if change != nil {
			change(&out, s)
		}
		if out.Set, err = json.Marshal(s); err == nil {
			err = part(out)
		}
		if err != nil {
			return control.Reply{Error: err.Error()}
		}
		return control.Reply{}
	})
}

// wantStatus runs status, and checks its exit status and parts of its output.
func wantStatus(t *testing.T, w *tooltest.World, code int, argv []string, want ...string) string {
	t.Helper()
	out, err := tool(t, w, append([]string{"status"}, argv...)...)
	got := 0
	if exit := cli.ExitError(0); errors.As(err, &exit) {
		got = int(exit)
	} else if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if got != code {
		t.Errorf("exit status %d, want %d:\n%s", got, code, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in\n%s", text, out)
		}
	}
	for _, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(line, "warning  ") || strings.HasPrefix(line, "critical  ") {
			if _, after, _ := strings.Cut(out, line+"\n"); !strings.HasPrefix(after, "    do: ") {
				t.Errorf("%q does not say what to do", line)
			}
		}
	}
	if strings.Contains(out, "1970") || strings.Contains(out, "0001-01-01") {
		t.Errorf("a time that never was:\n%s", out)
	}
	return out
}

// All is well: the states of a new host, of a daemon that runs.
func TestStatusOK(t *testing.T) {
	w := tooltest.New(t, "default")
	wantStatus(t, w, 0, nil, "OK: no problem at 2026-11-20 12:00:00 +0000\n", "default    empty", "unknown")
	m := tooltest.NewMailbox("user.anne")
	m.Deliver(tooltest.Mail("one", "bob@example.org", 300), w.Now)
	w.Sync(m)
	daemonStatus(t, w, nil)
	wantStatus(t, w, 0, nil, "running  1.2.3    2026-11-20 11:01:00 +0000  1            5.0 MiB  9.0 GiB (128 MiB)",
		"default    ok     1        2026-11-20 12:01:00 +0000  same",
		"repl [192.0.2.1]  2026-11-20 12:01:00 +0000  backup1  1        0         none", "verify    default    never", "compact   default    never")
}

// The daemon has ended: what it left counts, and is no problem.
func TestStatusIdle(t *testing.T) {
	w := two(t)
	s, err := w.Set.Status()
	if err != nil {
		t.Fatal(err)
	}
	left := control.Status{Daemon: control.Daemon{Version: "1.2.3", Since: w.Now.Add(-time.Hour), Ended: w.Now, Index: control.Index{Open: true, Free: -1}}}
	if left.Set, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if err := control.WriteStatus(control.StatusPath(w.Dir+"/index"), &left); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, w, 0, []string{"--max-age", "40h"}, "idle    1.2.3    ended ", "repl [192.0.2.1]")
	wantStatus(t, w, 2, []string{"--max-age", "29h"}, "CRITICAL: 1 critical at ", "critical  mail server repl [192.0.2.1]: no contact since 2026-11-21 18:04:00 +0000: 2 backups may be out of date")
}

// Each problem has its level, and is said by name. The others do not hide it.
func TestStatusProblems(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		code   int
		change func(*testing.T, *tooltest.World)
		status func(*control.Status, *partitions.Status)
		want   []string
	}{
		"silent server": {code: 2, change: func(_ *testing.T, w *tooltest.World) { w.Now = w.Now.Add(25 * time.Hour) },
			want: []string{"critical  mail server repl [192.0.2.1]: no contact since"}},
		"index closed": {code: 2, status: func(d *control.Status, _ *partitions.Status) { d.Daemon.Index.Open = false },
			want: []string{"critical  daemon: its index is closed"}},
		"index disk": {code: 1, status: func(d *control.Status, _ *partitions.Status) { d.Daemon.Index.Free = 200 << 20 },
			want: []string{"warning  daemon: the disk of the index has 200 MiB free"}},
		"clock": {code: 1, change: func(_ *testing.T, w *tooltest.World) { w.Ahead = 2 * time.Minute },
			want: []string{"warning  partition default: the clocks of the store and of this host differ by 2m0s", "+2m0s"}},
		"wrong clock": {code: 2, change: func(_ *testing.T, w *tooltest.World) { w.Ahead = -time.Hour },
			want: []string{"critical  partition default: the clocks"}},
		"emptied": {code: 2, change: func(t *testing.T, w *tooltest.World) {
			if err := w.Parts[0].Store.Delete(t.Context(), repository.Key); err != nil {
				t.Fatal(err)
			}
		}, want: []string{"critical  partition default: memory:default is empty, and this host has seen a repository there"}},
		"unreachable": {code: 2, change: func(_ *testing.T, w *tooltest.World) {
			s := faultstore.New(w.Parts[1].Store)
			s.Add(faultstore.Fault{Before: func(op, key string) error {
				return &objstore.Error{Op: op, Key: key, Err: errors.New("no route to host")}
			}})
			w.Parts[1].Store = s
		}, want: []string{"critical  partition cold: memory:cold cannot be read: ", "no route to host", "cold       unreachable", "default    ok "}},
		"never verified": {code: 1, change: func(_ *testing.T, w *tooltest.World) { w.Now = w.Now.Add(40 * day) },
			status: func(_ *control.Status, s *partitions.Status) { s.Servers[0].Last = s.Time },
			want:   []string{"warning  partition default: every message was read and checked never", "warning  partition default: old changes were merged never, and nothing is removed by backup_retention"}},
		"other host": {code: 2, change: func(t *testing.T, w *tooltest.World) {
			k := repository.Contact{Client: "repl mail2 [192.0.2.2]", Host: "backup2", Last: w.Now.Add(-3 * day), Unreached: []repository.Refusal{
				{Backup: "user/zoe", Kind: "damage", Since: w.Now.Add(-3 * day), At: w.Now, Error: "commit 1 is damaged", Action: "repair it"}}}
			if err := k.Put(t.Context(), w.Parts[0].Store); err != nil {
				t.Fatal(err)
			}
		}, want: []string{"critical  mail server repl mail2 [192.0.2.2]: no contact since", "its backups may be out of date", "repl mail2 [192.0.2.2]  2026-",
			"critical  users: 1 backup refused since the last success: zoe\n    do: repair it", "zoe     refused  -      2026-", "damage: backup2: commit 1 is damaged"}},
		"newer record": {code: 1, change: func(t *testing.T, w *tooltest.World) {
			if _, err := w.Parts[0].Store.Put(t.Context(), repository.RunKey("verify"), bytes.NewReader([]byte(`{"version":9}`)), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}, want: []string{"warning  partition default: a record for status cannot be read: runs/verify.json has version 9"}},
		"failed verify": {code: 2, change: func(t *testing.T, w *tooltest.World) {
			for key := range w.Keys("backups/user/bob/log/") {
				w.Damage(key)
			}
			if _, err := tool(t, w, "verify", "-A"); !errors.Is(err, cli.ErrReported) {
				t.Fatal(err)
			}
		}, want: []string{"critical  partition default: verify at", "has found problems in 1 backup of 1", "failed  1        1       "}},
		"many refused": {code: 2, status: func(_ *control.Status, s *partitions.Status) {
			for _, u := range []string{"a", "b", "c", "d", "e", "f", "g"} {
				s.Behind = append(s.Behind, partitions.Behind{Partition: "default", Path: "user/" + u, Name: u, Why: partitions.BehindRefused, Since: s.Time.Add(-25 * time.Hour), Kind: "busy"})
			}
			s.Lacking[partitions.BehindRefused] = 7
		}, want: []string{"critical  users: 7 backups refused since the last success: a, b, c, d, e and 2 more"}},
		"more refused than listed": {code: 2, status: func(_ *control.Status, s *partitions.Status) {
			for _, u := range []string{"a", "b"} {
				s.Behind = append(s.Behind, partitions.Behind{Partition: "default", Path: "user/" + u, Name: u, Why: partitions.BehindRefused, Since: s.Time.Add(-25 * time.Hour), Kind: "busy"})
			}
			s.Lacking[partitions.BehindRefused] = 150
		}, want: []string{"critical  users: 150 backups refused since the last success: a, b", "and more: 150 backups in total refused since the last success"}},
		"outside the scope": {code: 1, status: func(_ *control.Status, s *partitions.Status) {
			s.Servers[0].Refused = &repository.Refusal{Kind: partitions.RefusedOutside, At: s.Time.Add(-time.Hour), Error: "user zoe: outside the scope of this login", Action: "correct the file"}
		}, want: []string{"warning  mail server repl [192.0.2.1]: it sends backups outside the scope of its login, the last one at 2026-", ": user zoe: outside the scope of this login\n    do: correct the file"}},
		"all outside the scope": {code: 2, status: func(_ *control.Status, s *partitions.Status) {
			s.Servers[0].Backups, s.Servers[0].Refused = 0, &repository.Refusal{Kind: partitions.RefusedOutside, At: s.Time, Error: "user zoe: outside the scope of this login", Action: "correct the file"}
		}, want: []string{"critical  mail server repl [192.0.2.1]: it sends backups outside the scope of its login"}},
		"once outside the scope": {code: 0, status: func(_ *control.Status, s *partitions.Status) {
			s.Servers[0].Refused = &repository.Refusal{Kind: partitions.RefusedOutside, At: s.Time.Add(-25 * time.Hour), Error: "user zoe: outside the scope of this login"}
		}, want: []string{" outside\n"}},
		"refused and not listed": {code: 1, status: func(_ *control.Status, s *partitions.Status) { s.Servers[0].Unlisted = true },
			want: []string{"warning  mail server repl [192.0.2.1]: so many users without a backup are refused that others may be missing in this list\n    do: mend"}},
		"few failed logins": {code: 0, status: func(d *control.Status, s *partitions.Status) {
			d.Daemon.Logins = control.Logins{OK: 5, Failed: 12, Recent: 10, Last: &control.FailedLogin{At: s.Time, Host: "[192.0.2.9]", User: "repl", Result: "refused"}}
		}, want: []string{"failed logins  last half hour  since                      last                       from         as    why\n12             10              2026-", "[192.0.2.9]  repl  refused"}},
		"many failed logins": {code: 1, status: func(d *control.Status, s *partitions.Status) {
			d.Daemon.Logins = control.Logins{Failed: 11, Recent: 11, Last: &control.FailedLogin{At: s.Time, Host: "[192.0.2.9]", User: "repl", Result: "refused"}}
		}, want: []string{"warning  daemon: 11 logins have failed in half an hour, the last one from [192.0.2.9] as repl (refused)\n    do: a mail server has a wrong password"}},
		"failed logins of yesterday": {code: 0, status: func(d *control.Status, s *partitions.Status) {
			d.Daemon.Logins = control.Logins{Failed: 11, Recent: 11, Last: &control.FailedLogin{At: s.Time.Add(-31 * time.Minute), Host: "[192.0.2.9]", Result: "cancelled"}}
		}, want: []string{"[192.0.2.9]  -   cancelled"}},
		"just refused": {code: 0, status: func(_ *control.Status, s *partitions.Status) {
			s.Behind = append(s.Behind, partitions.Behind{Partition: "default", Path: "user/a", Name: "a", Why: partitions.BehindRefused, Since: s.Time.Add(-time.Minute), Kind: "busy"})
		}, want: []string{"a       refused  -      "}},
		"trouble": {code: 2, status: func(_ *control.Status, s *partitions.Status) {
			s.Troubles = append(s.Troubles, partitions.TroubleText{Partition: "default", Kind: "denied", Since: s.Time, Error: "403", Action: "check the policy"})
		}, want: []string{"critical  partition default: backupd cannot use it since", "(denied): 403\n    do: check the policy"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := twoIn(t, "default", "cold")
			daemonStatus(t, w, c.status)
			if err := w.Set.FlushContacts(); err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(t, w)
			}
			wantStatus(t, w, c.code, nil, c.want...)
		})
	}
}

// Each partition has its price: of the storage that is known, and of the daemon's requests.
func TestStatusCost(t *testing.T) {
	w := twoIn(t, "default", "cold")
	daemonStatus(t, w, func(d *control.Status, _ *partitions.Status) {
		d.Daemon.Requests = map[string]control.Requests{"default": {Put: 2000, Get: 5000, Delete: 7}}
	})
	const conf = "backup_prices: EUR storage=1000000 put=10 get=1\n"
	partition := func() (got statusPartition) {
		t.Helper()
		out, err := toolWith(t, w, conf, "status", "-j")
		var r struct{ Partitions []statusPartition }
		if err == nil {
			err = json.Unmarshal([]byte(out), &r)
		}
		if err != nil {
			t.Fatal(err, out)
		}
		return r.Partitions[0]
	}
	own := int64(0)
	for info, err := range w.Stores[0].List(t.Context(), "backups/", "") {
		if err != nil {
			t.Fatal(err)
		}
		own += info.Size
	}
	k := partition().Cost
	if k == nil || k.Stored != own || !k.Partial || k.Requests.Put != 2000 || k.Price == nil || k.Price.Currency != "EUR" || k.Price.Requests != 25 ||
		k.Price.Storage != math.Round(float64(own)/(1<<30)*1e12)/1e6 {
		t.Errorf("%+v of %d bytes: %+v", k, own, k.Price)
	}
	out, err := toolWith(t, w, conf, "status")
	if want := "cost     stored           price, month  puts  gets  price of these  since\ndefault  "; err != nil || !strings.Contains(out, want) || !strings.Contains(out, " or more  ") ||
		!strings.Contains(out, " EUR      2000  5000  25.00 EUR       2026-") {
		t.Errorf("%v: no %q in\n%s", err, want, out)
	}
	census(t, w)
	if out, err := toolWith(t, w, conf, "compact", "-A"); err != nil {
		t.Fatal(err, out)
	}
	if k := partition().Cost; k == nil || k.Partial || k.Stored < own/2 {
		t.Errorf("after compact: %+v", k)
	}
	wantStatus(t, w, 0, nil, "default  ", "-             2000  5000  -               2026-") // no price is known
	out, err = toolWith(t, w, "backup_prices: 0.02\n", "status")
	if exit := cli.ExitError(0); !errors.As(err, &exit) || int(exit) != 1 || !strings.Contains(out, "warning  imapd.conf: backup_prices: ") {
		t.Errorf("%v\n%s", err, out)
	}
}

// twoIn is a world with bob and carol, just synchronized.
func twoIn(t *testing.T, names ...string) *tooltest.World {
	w := tooltest.New(t, names...)
	for _, user := range []string{"bob", "carol"} {
		m := tooltest.NewMailbox("user." + user)
		m.Deliver(tooltest.Mail("one", "dave@example.org", 300), w.Now)
		w.Sync(m)
	}
	return w
}

// What users lack is listed, for people and in JSON, and so are holds.
func TestStatusUsers(t *testing.T) {
	w := twoIn(t, "default")
	daemonStatus(t, w, func(_ *control.Status, s *partitions.Status) {
		s.Behind = append(s.Behind, partitions.Behind{Partition: "default", Path: "user/bob", Name: "bob", Why: partitions.BehindResync, Count: 2},
			partitions.Behind{Partition: "default", Path: "shared/news", Name: "news", Why: partitions.BehindMissing, Count: 1},
			partitions.Behind{Partition: "default", Path: "user/bob", Name: "bob", Why: partitions.BehindCompare})
	})
	f, err := w.Bucket("").Find(t.Context(), cli.ByUser, "carol")
	if err != nil {
		t.Fatal(err)
	}
	alarm := repository.Hold{Kind: repository.HoldTripwire, By: "backupd", Reason: "9 of 10 messages were deleted", Since: w.Now}
	if err := f.PlaceHold(t.Context(), alarm, func() time.Time { return w.Now }); err != nil {
		t.Fatal(err)
	}
	if out, err := tool(t, w, "hold", "bob", "--reason", "case 4711"); err != nil {
		t.Fatal(err, out)
	}
	w.Now = w.Now.Add(time.Second)
	census(t, w)
	wantStatus(t, w, 1, nil, "WARNING: 4 warnings at",
		"warning  users: 1 backup waiting for a complete mailbox: bob\n", "warning  users: 1 backup without bodies that the mail server could not read: shared/news\n",
		"warning  users: 1 backup waiting for a comparison after a refusal: bob\n", "warning  users: 1 backup lost much mail at once (tripwire): carol\n",
		"bob          resync   2      -", "shared/news  missing  1      -", "bob      default    placed by ", "case 4711", "carol    default    placed by the tripwire of backupd")
	out, _ := tool(t, w, "status", "--ndjson", "--max-age", "2h")
	var got struct {
		Status   string
		MaxAge   int `json:"max_age"`
		Problems []struct{ Level, About, Text, Action string }
		Behind   []struct {
			Path, Why string
			Count     int
		}
		Servers []struct {
			Client  string
			Backups int
		}
		Holds []struct {
			Backup string
			Holds  []struct{ Kind string }
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err, out)
	}
	if got.Status != "warning" || got.MaxAge != 7200 || len(got.Problems) != 4 || got.Problems[0].Level != "warning" || len(got.Behind) != 3 ||
		got.Behind[0].Path != "user/bob" || got.Behind[0].Count != 2 || len(got.Servers) != 1 || got.Servers[0].Backups != 2 || len(got.Holds) != 2 {
		t.Errorf("%+v", got)
	}
}

// status reads no object of a backup, however many there are.
func TestStatusRequests(t *testing.T) {
	w, _ := many(t, 20)
	daemonStatus(t, w, nil)
	few := counted(w, func() { wantStatus(t, w, 0, nil) })
	w2, _ := many(t, 100)
	daemonStatus(t, w2, nil)
	if n := counted(w2, func() { wantStatus(t, w2, 0, nil) }); !maps.Equal(n, few) || n["get"] > 9 || n["list"] != 1 {
		t.Errorf("%v for 100 backups, %v for 20", n, few)
	}
}

// A partition that never answers, and does not even notice the end of its context, does not stop status.
func TestStatusHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := &command{ctx: t.Context(), now: time.Now()}
		hanging := repository.Config{Name: "cold", Location: "minio://cold", Store: hangingStore{release: release}}
		begun := time.Now()
		got := c.checkPartitions(t.Context(), []repository.Config{hanging})()
		if took := time.Since(begun); took != statusPart || got[0].State != partitionUnreachable || got[0].Error != "no answer within 15s" {
			t.Errorf("after %v: %+v", took, got[0])
		}
		close(release)
	})
}

// hangingStore answers when it is released.
type hangingStore struct {
	objstore.Store
	release chan struct{}
}

func (s hangingStore) Get(_ context.Context, key string, _, _ int64) (*objstore.Object, error) {
	<-s.release
	return nil, &objstore.Error{Op: "get", Key: key, Err: errors.New("late")}
}
