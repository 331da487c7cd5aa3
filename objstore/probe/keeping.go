package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Kept is the object that Keeping leaves. A later Run removes it.
const Kept = Dir + "/kept"

// Keeping is Run for keys that may not delete: it replaces one object, and leaves it. It does not try
// concurrent writers, which need a free key: IfAbsentRace is IfAbsent.
func Keeping(ctx context.Context, s objstore.Store, now func() time.Time) (c Capabilities, err error) {
	p := &prober{s: s, fixed: Kept, now: now, c: &c}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"write and read", p.replace},
		{"read a part", p.ranges},
		{"create only if absent", p.ifAbsentTaken},
		{"replace only if unchanged", p.ifMatch},
		{"list", p.listKept},
	} {
		if err := step.run(ctx); err != nil {
			return c, fmt.Errorf("probe: %s: %w", step.name, err)
		}
	}
	c.IfAbsentRace = c.IfAbsent
	return c, nil
}

// replace puts the object and reads it. It also compares the clocks.
func (p *prober) replace(ctx context.Context) error {
	before := p.now()
	info, err := p.put(ctx, Kept, alphabet, objstore.PutOptions{})
	if err != nil {
		return err
	}
	p.time(before, p.now(), info.StoreTime)
	switch same, err := p.expect(ctx, Kept, alphabet); {
	case err != nil:
		return err
	case !same:
		return errors.New("the bytes read differ from those written")
	}
	_, err = p.s.Stat(ctx, Kept)
	return err
}

// ifAbsentTaken checks that the object is not replaced.
func (p *prober) ifAbsentTaken(ctx context.Context) error {
	_, err := p.put(ctx, Kept, "second", objstore.PutOptions{IfAbsent: true})
	if !refused(err) {
		return err
	}
	kept, err2 := p.expect(ctx, Kept, alphabet)
	if err2 != nil {
		return err2
	}
	p.c.IfAbsent = kept && errors.Is(err, objstore.ErrExist)
	if !p.c.IfAbsent {
		p.note("if-absent: a put with a taken key was answered with %v, and its bytes were kept: %v", orNil(err), kept)
	}
	return nil
}

func (p *prober) listKept(ctx context.Context) error {
	for info, err := range p.s.List(ctx, Kept, "") {
		if err != nil {
			return err
		}
		p.c.ListOrder = p.c.ListOrder || info.Key == Kept
	}
	if !p.c.ListOrder {
		p.note("list: an object that was put is not listed")
	}
	return nil
}
