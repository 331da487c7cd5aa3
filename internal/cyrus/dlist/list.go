package dlist

import "errors"

// KVList reads a kvlist. For each key it calls fn, which must consume exactly one value.
// The key is interned and stays valid. An error of fn ends the call.
func (d *Decoder) KVList(fn func(key string) error) error {
	l, err := d.Keys()
	if err != nil {
		return err
	}
	for {
		key, ok, err := l.Next()
		if !ok || err != nil {
			return err
		}
		off, pending := d.off, d.pending
		if err := fn(key); err != nil {
			return err
		}
		if d.off == off && d.pending == pending {
			return errNotConsumed
		}
	}
}

// List reads a list, or NIL, which has no members. For each member it calls fn, which must
// consume exactly one value. An error of fn ends the call.
func (d *Decoder) List(fn func() error) error {
	l, err := d.Members()
	if err != nil {
		return err
	}
	for {
		ok, err := l.Next()
		if !ok || err != nil {
			return err
		}
		off, pending := d.off, d.pending
		if err := fn(); err != nil {
			return err
		}
		if d.off == off && d.pending == pending {
			return errNotConsumed
		}
	}
}

// Keys is a kvlist that its caller reads key by key. After each key the caller must read one
// value from the Decoder.
type Keys struct {
	d    *Decoder
	list string // the key of the kvlist itself
}

// Keys reads the opening of a kvlist.
func (d *Decoder) Keys() (Keys, error) {
	err := d.open(KVList)
	return Keys{d, d.key}, err
}

// Next reads the next key, which is interned and stays valid. ok is false at the end of the
// kvlist.
func (l *Keys) Next() (key string, ok bool, err error) {
	d := l.d
	done, err := d.closed()
	if done || err != nil {
		d.key = l.list
		return "", false, err
	}
	w, err := d.astring()
	if err != nil {
		return "", false, err
	}
	if d.key, err = d.keep(w); err != nil {
		return "", false, err
	}
	_, err = d.space()
	return d.key, err == nil, err
}

// Members is a list that its caller reads member by member. After each Next the caller must
// read one value from the Decoder.
type Members struct {
	d    *Decoder
	list string // the key of the list
	null bool
}

// Members reads the opening of a list, or NIL, which has no members.
func (d *Decoder) Members() (Members, error) {
	k, err := d.Peek()
	if err != nil {
		return Members{}, err
	}
	if k == Nil {
		d.take(len("NIL"))
		return Members{d: d, null: true}, nil
	}
	err = d.open(List)
	return Members{d: d, list: d.key}, err
}

// Next reports whether the list has another member.
func (l *Members) Next() (bool, error) {
	if l.null {
		return false, nil
	}
	done, err := l.d.closed()
	if done || err != nil {
		return false, err
	}
	l.d.key = l.list
	return true, nil
}

var errNotConsumed = errors.New("dlist: callback consumed no value")

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
