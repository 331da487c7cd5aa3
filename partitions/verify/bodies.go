package verify

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	readers    = 4       // bodies that are read in parallel
	framesKept = 4 << 20 // bytes: the frames of the readers, and of those before
)

// bodies reads every message of the backup, including expunged ones, and checks its
// hashes. It goes through the messages in the order of their arrival, which is mostly
// their order in packs.
func (w *verifier) bodies(m *history.Mem) error {
	w.step("checking the messages")
	objects := history.NewObjects(w.store, 0)
	objects.KeepFrames(framesKept)
	read, err := m.NewMessageSet()
	if err != nil {
		return w.damage("backups/"+w.f.Path, err)
	}
	results := make(chan badBody)
	g, ctx := errgroup.WithContext(w.ctx)
	g.SetLimit(readers)
	var list error
	go func() {
		defer close(results)
		for msg, err := range m.Messages() {
			if err == nil && !read.Add(msg.GUID) {
				continue
			}
			if err == nil {
				msg, err = m.Message(msg.GUID) // the latest state of the message
			}
			if err != nil || ctx.Err() != nil {
				list = err
				break
			}
			if !msg.Erased.IsZero() {
				w.done.Erased++
			}
			if msg.Missing {
				continue
			}
			places, err := placesOf(m, msg)
			if err != nil {
				list = err
				break
			}
			w.done.Messages++
			w.done.Bytes += msg.Size
			g.Go(func() error { return readBody(ctx, objects, msg, places, results) })
		}
		list = errors.Join(list, g.Wait())
	}()
	bad, erased := map[cyrus.GUID]*whereabouts{}, map[cyrus.GUID]*whereabouts{}
	for b := range results {
		if errors.As(b.err, new(*history.ErasedError)) && w.hold(erased, b) {
			continue
		}
		w.diagnosis.bodies = append(w.diagnosis.bodies, b.guid)
		if !w.hold(bad, b) {
			w.problem(Problem{Object: "message " + b.guid.String(), Text: b.err.Error()})
		}
	}
	if list == nil {
		list = errors.Join(locate(m, bad), locate(m, erased))
	}
	w.erasedLive(erased, bad)
	w.reportBad(m, objects, bad)
	if list != nil {
		return w.damage("backups/"+w.f.Path, list)
	}
	return nil
}

// erasedLive counts erased messages about which the state has no event, because the log has lost the commit with it. It adds
// live ones to bad: nobody erases mail that the user has.
func (w *verifier) erasedLive(erased, bad map[cyrus.GUID]*whereabouts) {
	for g, at := range erased {
		if !at.live {
			w.done.Erased++
			continue
		}
		var e *history.ErasedError
		errors.As(at.err, &e)
		at.err = fmt.Errorf("the user has it, but its body was %w, and the log does not show why", e)
		w.diagnosis.bodies, bad[g] = append(w.diagnosis.bodies, g), at
	}
}

// placesOf returns the places of a message's chunks.
func placesOf(m *history.Mem, msg *history.MessageState) (map[history.ChunkID][]history.Place, error) {
	out := map[history.ChunkID][]history.Place{}
	for _, c := range msg.Chunks {
		p, err := m.Places(c)
		if err != nil {
			return nil, err
		}
		out[c] = p
	}
	return out, nil
}

// badBody is an unreadable message.
type badBody struct {
	guid cyrus.GUID
	err  error
}

func readBody(ctx context.Context, o *history.Objects, msg *history.MessageState, places map[history.ChunkID][]history.Place, bad chan<- badBody) error {
	body, err := history.OpenMessage(ctx, o, msg, func(c history.ChunkID) ([]history.Place, error) { return places[c], nil })
	if err == nil {
		_, err = io.Copy(io.Discard, body)
		err = errors.Join(err, body.Close())
	}
	erased := errors.As(err, new(*history.ErasedError)) // the log has lost the commit with the event about it
	if err == nil || !erased && !history.IsDamage(err) || ctx.Err() != nil {
		return err
	}
	select {
	case bad <- badBody{msg.GUID, err}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
