package backupd

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/replication"
)

// Failed logins are recent for half an hour, and the last one has its address and name.
func TestLogins(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 30, 0, time.UTC)
	l := &logins{now: func() time.Time { return now }}
	try := func(result string, n int) {
		for range n {
			l.note(replication.Login{Addr: "[192.0.2.1]", User: "repl", Result: result})
		}
	}
	want := func(ok, failed, recent int64) {
		t.Helper()
		if s := l.status(); s.OK != ok || s.Failed != failed || s.Recent != recent {
			t.Errorf("at %v: %+v, want %d ok, %d failed, %d recent", now, s, ok, failed, recent)
		}
	}
	want(0, 0, 0)
	try(replication.LoginOK, 2)
	want(2, 0, 0)
	try(replication.LoginRefused, 3)
	now = now.Add(29 * time.Minute)
	try(replication.LoginNotAdmin, 1)
	want(2, 4, 4)
	now = now.Add(time.Minute)
	want(2, 4, 1)
	now = now.Add(31 * time.Minute)
	try(replication.LoginCancelled, 5)
	want(2, 9, 5)
	if last := l.status().Last; !last.At.Equal(now) || last.Host != "[192.0.2.1]" || last.User != "repl" || last.Result != replication.LoginCancelled {
		t.Errorf("last %+v", last)
	}
}
