package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// bridge records the unreadable commits in the log. If commits that an earlier bridge names
// can be read again (the bucket was restored), the state of the log is no longer the state in
// the indexes of the hosts. The same bridge after them makes the hosts read the log again,
// and the source send every mailbox.
func (r *repairer) bridge(ctx context.Context) error {
	lost := r.diagnosis.log
	if len(r.diagnosis.differ) > 0 {
		lost = append(slices.Clip(lost), r.diagnosis.bridged...)
	}
	lost = mergeRanges(lost)
	if len(lost) == 0 {
		return nil
	}
	events := []history.Event{&history.BridgedEvent{Lost: lost}}
	seal, err := r.lostSeal(ctx)
	if err != nil {
		return err
	}
	if seal != nil {
		events = append(events, seal)
	}
	n, err := r.commit(ctx, nil, events...)
	if err != nil {
		return err
	}
	for _, l := range lost {
		r.report(LostHere, history.LogPrefix(r.f.Path), "%s: these changes are lost from history; commit %d records the loss", l, n)
	}
	r.report(Waits, "backups/"+r.f.Path, "the next sync compares the whole backup with the mail server, which sends the lost data")
	return nil
}

// lostSeal returns the seal that was among the lost commits and led back to this partition, or nil.
func (r *repairer) lostSeal(ctx context.Context) (*history.SealedEvent, error) {
	copies, unasked, err := repository.CopiesOf(ctx, r.o.Others, r.f.Name())
	if err == nil && len(unasked) > 0 {
		err = unasked[0]
	}
	if err != nil {
		return nil, err
	}
	seal, err := r.f.LostSeal(ctx, copies)
	if history.IsDamage(err) || errors.Is(err, history.ErrBeforeFirst) {
		return nil, nil // no state is left
	}
	return seal, err
}

// mergeRanges sorts ranges, and joins ranges that overlap or that are adjacent and have the
// same reason.
func mergeRanges(in []history.LostRange) (out []history.LostRange) {
	in = slices.Clone(in)
	slices.SortStableFunc(in, func(a, b history.LostRange) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(b.To, a.To))
	})
	for _, l := range in {
		if n := len(out) - 1; n >= 0 && (l.From <= out[n].To || l.From == out[n].To+1 && l.Reason == out[n].Reason) {
			out[n].To = max(out[n].To, l.To)
			continue
		}
		out = append(out, l)
	}
	return out
}

// commit writes a commit with events and the places of chunks.
func (r *repairer) commit(ctx context.Context, places []history.Place, events ...history.Event) (uint64, error) {
	for range repository.AnnounceTries {
		highest, err := r.f.HighestNumber(ctx)
		if err != nil {
			return 0, err
		}
		tip, err := r.f.OpenTip(ctx, highest)
		if err != nil {
			return 0, err
		}
		at, err := r.lock.Now(ctx)
		if err != nil {
			return 0, err
		}
		h := r.lock.Options.Header(r.f, tip, at)
		h.Connection = "repair"
		bld := history.NewBuilder(h, r.o.Pack)
		for _, e := range events {
			if err := bld.Event(e); err != nil {
				return 0, err
			}
		}
		for _, p := range places {
			bld.Place(p)
		}
		won, err := r.f.PutBuilt(ctx, bld)
		if won || err != nil {
			return h.Number, err
		}
	}
	return 0, fmt.Errorf("repair the backup of %s: other writers took %d commit numbers in a row: try again", r.f.Name(), repository.AnnounceTries)
}
