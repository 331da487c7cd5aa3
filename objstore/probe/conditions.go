package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cyrusbackup/backupd/objstore"
)

const (
	racers = 8
	races  = 3
)

// refused reports whether an error is an answer to the condition. Any other error ends the
// probe, because it allows no conclusion.
func refused(err error) bool {
	return errors.Is(err, objstore.ErrExist) || errors.Is(err, objstore.ErrPrecondition) ||
		errors.Is(err, objstore.ErrUnsupported) || err == nil
}

// putIf puts with a condition that holds. taken reports that the store accepted it, or
// refused it although these bytes are stored: then the request arrived twice, and the
// answer was to the copy. err is a failure, refusal the store's answer.
func (p *prober) putIf(ctx context.Context, key, text string, opt objstore.PutOptions) (taken bool, refusal, err error) {
	_, refusal = p.put(ctx, key, text, opt)
	switch {
	case refusal == nil:
		return true, nil, nil
	case !refused(refusal):
		return false, nil, refusal
	case errors.Is(refusal, objstore.ErrUnsupported):
		return false, refusal, nil
	}
	same, err := p.expect(ctx, key, text)
	if errors.Is(err, objstore.ErrNotExist) {
		return false, refusal, nil
	}
	return same, refusal, err
}

func (p *prober) ifAbsent(ctx context.Context) error {
	p.c.IfAbsent = false
	key := p.key("absent")
	taken, refusal, err := p.putIf(ctx, key, "first", objstore.PutOptions{IfAbsent: true})
	if err != nil {
		return err
	}
	if !taken {
		p.note("if-absent: a put with a free key was refused: %v", refusal)
		return nil
	}
	_, err = p.put(ctx, key, "second", objstore.PutOptions{IfAbsent: true})
	if !refused(err) {
		return err
	}
	kept, err2 := p.expect(ctx, key, "first")
	if err2 != nil {
		return err2
	}
	p.c.IfAbsent = kept && errors.Is(err, objstore.ErrExist)
	if !p.c.IfAbsent {
		p.note("if-absent: a put with a taken key was answered with %v, and its bytes were kept: %v", orNil(err), kept)
	}
	return nil
}

// race makes writers create the same key concurrently. Two winners occur only if the store
// is unreliable, so a single such race decides.
func (p *prober) race(ctx context.Context) error {
	if !p.c.IfAbsent {
		return nil
	}
	p.c.IfAbsentRace = true
	for i := range races {
		winners, err := p.raceOnce(ctx, p.key(fmt.Sprintf("race%d", i)))
		if err != nil {
			return err
		}
		if winners != 1 {
			p.c.IfAbsentRace = false
			p.note("if-absent: %d of %d concurrent writers got a success, or the stored bytes are not the winner's", winners, racers)
		}
	}
	return nil
}

// raceOnce returns the number of winners, or 0 if the stored bytes are not those of the one
// winner.
func (p *prober) raceOnce(ctx context.Context, key string) (winners int, err error) {
	results := make([]error, racers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			<-start
			_, results[i] = p.put(ctx, key, writer(i), objstore.PutOptions{IfAbsent: true})
		})
	}
	close(start)
	wg.Wait()
	winner := 0
	for i, err := range results {
		switch {
		case err == nil:
			winner = i
			winners++
		case !errors.Is(err, objstore.ErrExist) && !objstore.IsTemporary(err):
			return 0, err
		}
	}
	got, _, err := p.get(ctx, key, 0, -1)
	if err != nil {
		return 0, err
	}
	if winners == 0 && wroteOne(got) {
		return 1, nil // the winner's answer was lost, or was for a copy of its request
	}
	if winners == 1 && got != writer(winner) {
		return 0, nil
	}
	return winners, nil
}

// wroteOne reports whether these are the bytes of one of the writers.
func wroteOne(got string) bool {
	for i := range racers {
		if got == writer(i) {
			return true
		}
	}
	return false
}

func writer(i int) string { return fmt.Sprintf("writer %d", i) }

func (p *prober) ifMatch(ctx context.Context) error {
	p.c.IfMatch = false
	key := p.key("match")
	first, err := p.put(ctx, key, "one", objstore.PutOptions{})
	if err != nil {
		return err
	}
	if first.ETag == "" {
		p.note("if-match: the store returns no ETag")
		return nil
	}
	taken, refusal, err := p.putIf(ctx, key, "two", objstore.PutOptions{IfMatch: first.ETag})
	if err != nil {
		return err
	}
	if !taken {
		p.note("if-match: the current ETag was refused: %v", refusal)
		return nil
	}
	_, err = p.put(ctx, key, "three", objstore.PutOptions{IfMatch: first.ETag})
	if !refused(err) {
		return err
	}
	kept, err2 := p.expect(ctx, key, "two")
	if err2 != nil {
		return err2
	}
	p.c.IfMatch = kept && errors.Is(err, objstore.ErrPrecondition)
	if !p.c.IfMatch {
		p.note("if-match: a stale ETag was answered with %v, and the bytes were kept: %v", orNil(err), kept)
	}
	return nil
}
