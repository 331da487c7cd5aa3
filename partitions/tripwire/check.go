package tripwire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Settle is how long a deletion is ignored. A mail server reports a move of messages as
// deletions in one mailbox and, some time later, as new messages in another.
const Settle = 15 * time.Minute

// Options are the options of Check.
type Options struct {
	Rule          Rule
	DeletedPrefix string    // as in imapd.conf
	Now           time.Time // the reader's clock
}

// Alarm describes deletions that fire the rule.
type Alarm struct {
	Deleted int       // messages
	Of      int       // messages that were there at From
	From    time.Time // the window begins
	To      time.Time // and ends
	Account bool      // no mailbox is left, as after the deletion of an account
}

// String describes the alarm for people.
func (a *Alarm) String() string {
	text := fmt.Sprintf("%d of %d messages were deleted between %s and %s", a.Deleted, a.Of, timespec.Text(a.From), timespec.Text(a.To))
	if a.Account {
		text += ", and no mailbox is left: if the account was deleted on purpose, run ctl_backups release"
	}
	return text
}

// Headline is the text of the line in the log.
func (a *Alarm) Headline() string {
	const text = "much of the mail of this backup was deleted: nothing is removed from the backup until ctl_backups release ends the hold"
	if a.Account {
		return text + ". No mailbox is left: if the account was deleted on purpose, run ctl_backups release"
	}
	return text
}

// Hold returns the hold that an alarm places. by is the program.
func (a *Alarm) Hold(by string) repository.Hold {
	return repository.Hold{Kind: repository.HoldTripwire, By: by, Reason: a.String()}
}

// Check looks for deletions that fire the rule, in everything that the state of the backup
// still shows: until retention removes a deleted message, Check finds it. It ignores what was
// deleted before the last release of a hold, and within Settle. The error means that the backup could not be
// read completely.
func Check(ctx context.Context, f *repository.Found, o Options) (*Alarm, error) {
	if !o.Rule.On() {
		return nil, nil
	}
	holds, err := f.ReadHolds(ctx)
	if err != nil {
		return nil, err
	}
	m, err := f.Load(ctx, history.Moment{Now: o.Now})
	if errors.Is(err, history.ErrBeforeFirst) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer m.Close()
	t, err := deletions(m, o, span{holds.Released.Unix(), o.Now.Add(-Settle).Unix()})
	if err != nil || t == nil {
		return nil, err
	}
	for _, w := range t.windows(o.Rule) {
		a, err := judge(ctx, f, o, t, w)
		if a != nil && err == nil {
			a.Account, err = nothingLeft(m, o.DeletedPrefix)
		}
		if a != nil || err != nil {
			return a, err
		}
	}
	return nil, nil
}

// judge reads the state at the begin of a window, and counts which of its messages were
// deleted within the window.
func judge(ctx context.Context, f *repository.Found, o Options, t *table, w window) (*Alarm, error) {
	// A nanosecond before the first deletion, because times of deletion are whole seconds.
	m, err := f.Load(ctx, history.Moment{Time: w.from.Add(-1), Now: o.Now})
	if removed := (*history.NotKeptError)(nil); errors.As(err, &removed) {
		// The window begins before the history that is kept.
		m, err = f.Load(ctx, history.Moment{Number: removed.After.Number, Now: o.Now})
	}
	if errors.Is(err, history.ErrBeforeFirst) {
		return nil, nil // the backup did not exist yet: the first sync reported them as deleted
	}
	if err != nil {
		return nil, err
	}
	defer m.Close()
	deleted, of := 0, 0
	for r, err := range kept(m, o.DeletedPrefix) {
		if err != nil {
			return nil, err
		}
		key, sampled := t.key(r)
		if !sampled {
			continue
		}
		of++
		if at := t.at(key); !at.Before(w.from) && at.Before(w.to) {
			deleted++
		}
	}
	deleted, of = deleted<<t.skip, of<<t.skip
	if deleted < o.Rule.Least || deleted*100 < o.Rule.Share*of {
		return nil, nil
	}
	return &Alarm{Deleted: deleted, Of: of, From: w.from, To: w.to}, nil
}
