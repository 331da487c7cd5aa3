package backupd

import (
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/clock"
	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/replication"
)

// logins counts attempts to log in, for ctl_backups status.
type logins struct {
	now func() time.Time // nil = clock.Now

	mu     sync.Mutex
	sum    control.Logins
	failed [control.RecentLogins / time.Minute]minute // by minute, a ring
}

// minute counts the failed logins of one minute.
type minute struct{ at, n int64 }

func (l *logins) time() time.Time {
	if l.now != nil {
		return l.now()
	}
	return clock.Now()
}

// note counts an attempt.
func (l *logins) note(x replication.Login) {
	now := l.time()
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.Result == replication.LoginOK {
		l.sum.OK++
		return
	}
	l.sum.Failed++
	at := now.Unix() / 60
	m := &l.failed[at%int64(len(l.failed))]
	if m.at != at {
		*m = minute{at: at}
	}
	m.n++
	l.sum.Last = &control.FailedLogin{At: now, Host: x.Addr, User: x.User, Result: x.Result}
}

// status returns the counts now.
func (l *logins) status() control.Logins {
	now := l.time().Unix() / 60
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.sum
	for _, m := range l.failed {
		if m.at <= now && now-m.at < int64(len(l.failed)) {
			out.Recent += m.n
		}
	}
	return out
}
