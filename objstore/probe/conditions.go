package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"backupd/objstore"
)

const (
	racers = 8
	races  = 3
)

// refused says whether an error is an answer to the condition rather than trouble:
// trouble ends the probe, since nothing can be concluded from it.
func refused(err error) bool {
	return errors.Is(err, objstore.ErrExist) || errors.Is(err, objstore.ErrPrecondition) ||
		errors.Is(err, objstore.ErrUnsupported) || err == nil
}

func (p *prober) ifAbsent(ctx context.Context) error {
	key := p.key("absent")
	_, err := p.put(ctx, key, "first", objstore.PutOptions{IfAbsent: true})
	if !refused(err) {
		return err
	}
	if err != nil {
		p.note("if-absent: a free key was refused: %v", err)
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
		p.note("if-absent: a taken key was answered with %v, and its bytes were kept: %v", orNil(err), kept)
	}
	return nil
}

// race lets writers create the same key at once.
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
			p.note("if-absent: %d of %d writers at once were told that they created the object, or its bytes were not the winner's", winners, racers)
		}
	}
	return nil
}

// raceOnce returns how many won; 0 also when the bytes are not those of the one winner.
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
	if winners == 0 && unclear(results) {
		return 1, nil // the winner's answer was lost or a 409; somebody's bytes are there
	}
	if winners == 1 && got != writer(winner) {
		return 0, nil
	}
	return winners, nil
}

func unclear(results []error) bool {
	for _, err := range results {
		if objstore.IsTemporary(err) {
			return true
		}
	}
	return false
}

func writer(i int) string { return fmt.Sprintf("writer %d", i) }

func (p *prober) ifMatch(ctx context.Context) error {
	key := p.key("match")
	first, err := p.put(ctx, key, "one", objstore.PutOptions{})
	if err != nil {
		return err
	}
	if first.ETag == "" {
		p.note("if-match: the store gives no ETag")
		return nil
	}
	_, err = p.put(ctx, key, "two", objstore.PutOptions{IfMatch: first.ETag})
	if !refused(err) {
		return err
	}
	if err != nil {
		p.note("if-match: the present ETag was refused: %v", err)
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
