package partitions_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/miniostore"
	"github.com/cyrusbackup/backupd/objstore/miniotest"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

const year = 365 * 24 * time.Hour

// noClockPause configures a host that confirms clock readings without a pause.
func noClockPause(o *partitions.Options) {
	shortWait(o)
	o.ClockPause = time.Nanosecond
}

// expectTimes checks that every time in the bucket is within some minutes of now.
func expectTimes(t *testing.T, s objstore.Store, what string) {
	t.Helper()
	check := func(key string, at time.Time) {
		if off := time.Since(at).Abs(); !at.IsZero() && off > 11*time.Minute {
			t.Errorf("%s: %s has the time %v", what, key, at)
		}
	}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if b, n, ok := commitKey(info.Key); ok {
			h, err := history.ReadHeader(t.Context(), s, b, n)
			if err != nil {
				t.Fatal(err)
			}
			check(info.Key, h.Time)
			continue
		}
		if !strings.HasSuffix(info.Key, ".json") {
			continue
		}
		var v struct{ Created, Since, Expires time.Time }
		if err := json.Unmarshal(object(t, s, info.Key), &v); err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{v.Created, v.Since, v.Expires} {
			check(info.Key, at)
		}
	}
}

func commitKey(key string) (backup string, number uint64, ok bool) {
	rest, _ := strings.CutPrefix(key, "backups/")
	backup, _, _ = strings.Cut(rest, "/log/")
	from, to, ok := history.ParseLogKey(backup, key)
	return backup, from, ok && from == to
}

func object(t *testing.T, s objstore.Store, key string) []byte {
	t.Helper()
	o, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// No single answer of the store with a wrong time puts that time into the bucket. The answers
// are the first one, those when the repository and a backup are created, those before and after
// a commit, and those when a lock is taken.
func TestWrongTimeIsNotStored(t *testing.T) {
	log2 := "stat backups/user/anne/log/0000000000000002.tar.zst"
	for _, c := range []struct {
		shift   time.Duration
		answers []string
	}{
		{10 * year, []string{"", "put repository.json", "put backups/user/anne/backup.json", "put backups/user/anne/log/0000000000000001.tar.zst", log2,
			"get backups/user/anne/lock.json", "stat backups/user/anne/lock.json"}},
		{-10 * year, []string{log2}}, {24 * time.Hour, []string{log2}}, {10 * time.Minute, []string{log2}},
	} {
		for _, answer := range c.answers {
			store := newStore()
			f := faultstore.New(store)
			f.Add(faultstore.Fault{Match: func(op, key string) bool { return strings.HasSuffix(op+" "+key, answer) }, Count: 1, Shift: c.shift})
			h := newHostWith(t, noClockPause, f)
			inbox := newSource("user.anne")
			for i := range 2 {
				inbox.deliver(mail(i, 500))
				h.sync("anne", inbox)
			}
			if err := lock(t, found(t, f), repository.LockOptions{}).Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.stop()
			expectTimes(t, store, c.shift.String()+" in the answer to "+answer)
			if f.Struck() != 1 {
				t.Errorf("%s: %d answers were shifted, want 1", answer, f.Struck())
			}
		}
	}
}

// Two hosts share a store whose clock is right, and each in turn is a day off. Commits carry the
// store's time, and the host that is off logs the difference once.
func TestHostsADayApart(t *testing.T) {
	store := newStore()
	inbox := newSource("user.anne")
	for turn, off := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		for wrong := range 2 {
			var logs [2]bytes.Buffer
			var hosts [2]*host
			for i := range hosts {
				hosts[i] = newHostWith(t, func(o *partitions.Options) {
					noClockPause(o)
					o.Logger = slog.New(slog.NewTextHandler(&logs[i], nil))
					o.Now = func() time.Time {
						if i == wrong {
							return time.Now().Add(off)
						}
						return time.Now()
					}
				}, store)
			}
			for n := range 2 {
				for i, h := range hosts {
					inbox.deliver(mail(turn*100+wrong*10+n*2+i, 500))
					h.sync("anne", inbox)
				}
			}
			for i, h := range hosts {
				h.stop()
				logged := strings.Count(logs[i].String(), "clocks of this host and of the store differ")
				if want := map[bool]int{true: 1}[i == wrong]; logged != want {
					t.Errorf("host %d (host %d is %v off) logged the difference %d times\n%s", i, wrong, off, logged, logs[i].String())
				}
			}
		}
	}
	expectTimes(t, store, "a day")
	newHost(t, store).expectSame("anne", inbox)
}

// One answer with a time in the future does not end a lock that somebody holds.
func TestLockSurvivesWrongTime(t *testing.T) {
	for _, shift := range []time.Duration{10 * time.Minute, 24 * time.Hour, 10 * year} {
		store := newStore()
		f := faultstore.New(store)
		h := newHostWith(t, noClockPause, f)
		inbox := newSource("user.anne")
		h.sync("anne", inbox)
		l := lock(t, found(t, store), repository.LockOptions{})
		inbox.deliver(mail(1, 500))
		f.Add(faultstore.Fault{Match: func(op, key string) bool { return strings.HasSuffix(key, "lock.json") }, Count: 1, Shift: shift})
		c := h.client()
		if _, err := c.sync("anne", inbox); !errors.Is(err, cyrus.ErrLocked) || f.Struck() == 0 {
			t.Errorf("after an answer that is %v ahead (%d): %v, want ErrLocked", shift, f.Struck(), err)
		}
		c.s.Close()
		if _, err := found(t, f).Lock(t.Context(), repository.LockOptions{Owner: "another"}); !errors.Is(err, repository.ErrHeld) {
			t.Errorf("a second lock: %v, want ErrHeld", err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.sync("anne", inbox)
	}
}

// The log contains a commit of an older version with a time years ahead. Later commits cannot
// have an earlier time; the host logs this once.
func TestLogAheadOfTheClock(t *testing.T) {
	ahead := 10 * year
	store := memstore.New(func() time.Time { return time.Now().Add(ahead) })
	inbox := newSource("user.anne")
	newHostWith(t, func(o *partitions.Options) { o.Now = func() time.Time { return time.Now().Add(ahead) } }, store).sync("anne", inbox)
	ahead = 0
	var logs bytes.Buffer
	h := newHostWith(t, func(o *partitions.Options) { o.Logger = slog.New(slog.NewTextHandler(&logs, nil)) }, store)
	for n := range 2 {
		inbox.deliver(mail(n, 500))
		h.sync("anne", inbox)
	}
	h.stop()
	if n := strings.Count(logs.String(), "in the future, and"); n != 1 {
		t.Errorf("logged %d times, want once\n%s", n, logs.String())
	}
	checkBucket(t, store, "user/anne", inbox)
}

// MinIO's answers are ten years ahead for a while. A daemon saw the right time before, and runs
// during and after the error. Its commits and those of another daemon carry the right time, and
// the current state is complete.
func TestMinIOAheadForAWhile(t *testing.T) {
	if testing.Short() {
		t.Skip("needs MinIO")
	}
	minio := miniotest.Start(t)
	bucket := minio.NewBucket(t)
	proxy := minio.NewSkewed(t)
	store, err := miniostore.Open(proxy.Location(bucket), miniostore.Options{Credentials: minio.Credentials()})
	if err != nil {
		t.Fatal(err)
	}
	inbox := newSource("user.anne")
	h := newHostWith(t, noClockPause, store)
	for turn, ahead := range []time.Duration{0, 10 * year, 0, 0} {
		if turn == 3 {
			h = newHostWith(t, noClockPause, store)
		}
		proxy.By.Store(int64(ahead))
		for n := range 3 {
			inbox.deliver(mail(turn*10+n, 300))
		}
		h.sync("anne", inbox)
	}
	expectTimes(t, store, "MinIO")
	m, err := history.Load(t.Context(), store, "user/anne", history.Moment{Time: time.Now(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	box, err := m.Mailbox(inbox.uniqueid)
	if times := m.Times(); err != nil || box.Live != 12 || times.Doubts() != "" {
		t.Errorf("as of now: %d of 12 messages, %q, %v", box.Live, times.Doubts(), err)
	}
}
