package partitions

import (
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
)

const (
	// sentKept is how long the index at least knows that a login has sent a message. A large mailbox
	// can take days to send, with many connections.
	sentKept = 7 * 24 * time.Hour
	// sentAtOnce is how many messages wait for the index, which bounds their memory.
	sentAtOnce = 1024
)

// sentPeriod returns the number of the period that a time is in. The keys of a period are removed
// together, after the next period has ended.
func sentPeriod(now time.Time) uint32 { return uint32(now.Unix() / int64(sentKept/time.Second)) }

// noteSent records that the connection has sent the bytes of a message.
func (g *Stage) noteSent(guid cyrus.GUID) {
	if g.fence != nil {
		g.fence.sent[guid] = struct{}{}
	}
}

// keepSent moves the messages in fence.sent to the index. It is called before each lookup, and often enough for
// its memory. No view of the index is open.
func (g *Stage) keepSent(least int) error {
	if g.fence == nil || len(g.fence.sent) < least {
		return nil
	}
	period := sentPeriod(g.set.opt.Now())
	err := g.set.index.UpdateLong(func(t *index.Txn) error {
		for guid := range g.fence.sent {
			if err := t.Set(index.SentKey(period, g.fence.login, guid), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		clear(g.fence.sent)
	}
	return err
}

// hasSent reports whether the login has sent the bytes of a message.
func (g *Stage) hasSent(t *index.Txn, guid cyrus.GUID) (bool, error) {
	if g.msgs[guid] != nil {
		return true, nil
	}
	if _, ok := g.fence.sent[guid]; ok {
		return true, nil
	}
	period := sentPeriod(g.set.opt.Now())
	sent, err := t.Has(index.SentKey(period, g.fence.login, guid))
	if sent || err != nil {
		return sent, err
	}
	if sent, err = t.Has(index.SentKey(period-1, g.fence.login, guid)); sent && len(g.fence.sent) < sentAtOnce {
		g.noteSent(guid) // in this period, so that it is still known when a mailbox names it
	}
	return sent, err
}

// forgetSent removes from the index what logins have sent before the last period.
func (s *Set) forgetSent() {
	period := sentPeriod(s.opt.Now())
	if s.forgotSent == period {
		return
	}
	if err := s.index.DropSent(period - 1); err != nil {
		s.log.Debug("what logins have sent long ago could not be removed from the index", "err", err)
		return
	}
	s.forgotSent = period
}
