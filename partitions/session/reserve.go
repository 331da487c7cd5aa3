package session

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Reserve returns the messages that the client must upload.
func (x *Session) Reserve(ctx context.Context, _ string, names []string, guids []cyrus.GUID) (missing []cyrus.GUID, err error) {
	defer x.enter()(&err)
	ctx = x.set.Brief(ctx)
	if x.fenced {
		return x.reserveFenced(ctx, names, guids)
	}
	if len(names) > 0 {
		if _, _, err := x.open(ctx, x.set.NameOf(names[0])); err != nil {
			return nil, err
		}
	}
	return x.stage.Lacking(ctx, x.lastWithin(), len(x.held) <= 1, guids)
}

// reserveFenced is Reserve for a session with a fence: each backup in use counts by itself, because a
// mailbox may only refer to what its own backup has. A message is held if all of them have it.
func (x *Session) reserveFenced(ctx context.Context, names []string, guids []cyrus.GUID) (missing []cyrus.GUID, err error) {
	for _, name := range x.within(names) {
		if _, _, err := x.open(ctx, x.set.NameOf(name)); err != nil {
			return nil, err
		}
	}
	last := x.lastWithin()
	if len(x.held) <= 1 {
		return x.stage.Lacking(ctx, last, true, guids)
	}
	lacking := map[cyrus.GUID]bool{}
	for b := range x.held {
		if !x.may(b.Name()) {
			continue
		}
		list, err := x.stage.Lacking(ctx, b, true, guids)
		if err != nil {
			return nil, err
		}
		for _, g := range list {
			lacking[g] = true
		}
	}
	for _, g := range guids {
		if lacking[g] {
			missing = append(missing, g)
		}
	}
	return missing, nil
}
