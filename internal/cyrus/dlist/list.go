package dlist

import "errors"

// KVList reads a kvlist. For each key it calls fn, which must consume exactly one value.
// The key is interned and stays valid. An error of fn ends the call.
func (d *Decoder) KVList(fn func(key string) error) error {
	if err := d.open(KVList); err != nil {
		return err
	}
	list := d.key
	for {
		done, err := d.closed()
		if done || err != nil {
			d.key = list
			return err
		}
		w, err := d.astring()
		if err != nil {
			return err
		}
		key := d.intern(w)
		d.key = key
		if _, err := d.space(); err != nil {
			return err
		}
		if err := d.consume(func() error { return fn(key) }); err != nil {
			return err
		}
	}
}

// List reads a list, or NIL, which has no members. For each member it calls fn, which must
// consume exactly one value. An error of fn ends the call.
func (d *Decoder) List(fn func() error) error {
	if k, err := d.Peek(); err != nil {
		return err
	} else if k == Nil {
		d.take(len("NIL"))
		return nil
	}
	if err := d.open(List); err != nil {
		return err
	}
	list := d.key
	for {
		done, err := d.closed()
		if done || err != nil {
			return err
		}
		d.key = list
		if err := d.consume(fn); err != nil {
			return err
		}
	}
}

var errNotConsumed = errors.New("dlist: callback consumed no value")

func (d *Decoder) consume(fn func() error) error {
	off, pending := d.off, d.pending
	if err := fn(); err != nil {
		return err
	}
	if d.off == off && d.pending == pending {
		return errNotConsumed
	}
	return nil
}

// open reads the opening of a list or kvlist.
func (d *Decoder) open(want Kind) error {
	k, err := d.Peek()
	if err != nil {
		return err
	}
	if k != want {
		return d.field("want a " + want.String() + ", have a " + k.String())
	}
	if d.depth >= d.lim.MaxDepth {
		return d.syntax("lists nested too deeply")
	}
	d.depth++
	if want == KVList {
		d.take(2)
	} else {
		d.take(1)
	}
	return nil
}

// closed skips white space and reads a closing parenthesis if it comes next.
func (d *Decoder) closed() (bool, error) {
	c, err := d.space()
	if err != nil || c != ')' {
		return false, err
	}
	d.take(1)
	d.depth--
	return true, nil
}
