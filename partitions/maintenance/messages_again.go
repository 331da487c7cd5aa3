package maintenance

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ArrivedAgain reports whether one of the messages has arrived after a commit with the event about them, and the user has deleted it
// again, so that it can be restored. That is no part of the erasure. A message that the user has is new mail.
func ArrivedAgain(ctx context.Context, f *repository.Found, guids []cyrus.GUID, event uint64, o RetainOptions) (bool, error) {
	o.Lock.SetDefaults()
	r := newRetainer(f, nil, o)
	r.now, r.messages = o.Lock.Now(), &Messages{}
	last := map[cyrus.GUID]*arrivals{}
	for _, g := range guids {
		r.messages.List = append(r.messages.List, repository.ErasedMessage{GUID: g})
		last[g] = &arrivals{erased: event}
	}
	there, err := r.relist(ctx)
	if err == nil && there {
		err = r.arrivals(ctx, last)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", f.Name(), r.explained(ctx, err))
	}
	for _, g := range guids {
		if is := last[g]; is.arrived > is.erased && !is.live {
			return true, nil
		}
	}
	return false, nil
}

// arrivals are the last commits with which a message has arrived, and was erased.
type arrivals struct {
	arrived, erased uint64
	live            bool // the user has it
}

func (r *retainer) arrivals(ctx context.Context, last map[cyrus.GUID]*arrivals) error {
	err := r.eachMessage(ctx, func(m *history.MessageState) {
		switch is := last[m.GUID]; {
		case is == nil:
		case !m.Erased.IsZero():
			is.erased = max(is.erased, m.Commit)
		case !m.Missing:
			is.arrived = max(is.arrived, m.Commit)
		}
	}, func(h history.Header, e *history.ErasedEvent) {
		for _, g := range e.Messages {
			if is := last[g]; is != nil {
				is.erased = max(is.erased, h.Number)
			}
		}
	})
	if err != nil {
		return err
	}
	st, err := r.f.Load(ctx, history.Moment{Now: r.now})
	if err != nil {
		return err
	}
	defer st.Close()
	live, err := liveIn(st, r.messages.guids())
	for g, in := range live {
		last[g].live = len(in) > 0
	}
	return err
}
