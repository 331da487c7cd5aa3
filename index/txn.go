package index

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Txn is a transaction. It sees the index at its start plus its own writes. It is for one
// goroutine, inside View, Update or UpdateLong.
type Txn struct {
	x      *Index
	db     *badger.DB
	txn    *badger.Txn
	writes bool // an Update
	long   bool // may be committed in parts

	large int64 // bytes of values for the value log
	arena arena
}

// View runs fn over a snapshot.
func (x *Index) View(fn func(*Txn) error) error {
	t, end, err := x.Begin()
	if err != nil {
		return err
	}
	defer end()
	return fn(t)
}

// Begin opens a snapshot for reading. end closes it, and must be called soon: the index
// waits for it when it closes.
func (x *Index) Begin() (t *Txn, end func(), err error) {
	db, release, err := x.use()
	if err != nil {
		return nil, nil, err
	}
	t = &Txn{x: x, db: db, txn: db.NewTransaction(false)}
	return t, func() { t.txn.Discard(); release() }, nil
}

// Update runs fn in one atomic transaction. A nil error means that it is durable. A
// transaction that is too large fails and changes nothing.
func (x *Index) Update(fn func(*Txn) error) error { return x.update(fn, false) }

// UpdateLong is like Update for transactions of any size. It commits in parts as the
// transaction grows, so a crash or an error can leave a part of it. The caller marks the
// operation as in progress beforehand and can repeat it.
func (x *Index) UpdateLong(fn func(*Txn) error) error { return x.update(fn, true) }

func (x *Index) update(fn func(*Txn) error, long bool) error {
	db, release, err := x.use()
	if err != nil {
		return err
	}
	defer release()
	t := &Txn{x: x, db: db, txn: db.NewTransaction(true), writes: true, long: long}
	defer func() { t.txn.Discard() }()
	if err := fn(t); err != nil {
		return err
	}
	return t.commit()
}

// commit writes the transaction if the disk has space for it. An error of the disk, or a
// lack of file descriptors, closes the index, because Badger cannot continue after it.
func (t *Txn) commit() error {
	t.x.commit.Lock()
	defer t.x.commit.Unlock()
	if err := t.x.refused(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := t.x.files.short(0); err != nil {
		return t.x.refuse(err)
	}
	if t.large > 0 {
		if err := t.x.files.extendLog(t.large); err != nil {
			return t.x.refuse(err)
		}
		t.large = 0
	}
	err := t.x.opt.OnCommit(t.txn.Commit)
	t.x.mapped.ended(t.x.log)
	if cause := openError(err); isTransient(cause) {
		return t.x.refuse(fmt.Errorf("commit: %w", cause))
	}
	return wrap("commit", nil, err)
}

func wrap(op string, k Key, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, badger.ErrKeyNotFound):
		return ErrNotFound
	}
	return fmt.Errorf("index: %s %q: %w", op, []byte(k), err)
}

// Get returns a copy of the value, or ErrNotFound.
func (t *Txn) Get(k Key) ([]byte, error) {
	if t.Lacks(k) {
		return nil, ErrNotFound
	}
	t.x.opt.OnRead(k)
	i, err := t.txn.Get(k)
	if err != nil {
		return nil, wrap("get", k, err)
	}
	v, err := i.ValueCopy(nil)
	return v, wrap("get", k, err)
}

// Has reports whether the key exists.
func (t *Txn) Has(k Key) (bool, error) {
	if t.Lacks(k) {
		return false, nil
	}
	t.x.opt.OnRead(k)
	_, err := t.txn.Get(k)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, wrap("get", k, err)
}

// SetCopy is Set with copies of both slices, so that the caller may change its own.
func (t *Txn) SetCopy(k Key, v []byte) error { return t.Set(t.arena.copy(k), t.arena.copy(v)) }

// Set writes the value. The transaction keeps both slices.
func (t *Txn) Set(k Key, v []byte) error {
	t.x.filter.add(k) // before anybody can see the key
	err := t.write("set", k, func() error { return t.txn.SetEntry(t.arena.entry(k, v)) })
	if err != nil || len(v) < largeValue {
		return err
	}
	if t.large += int64(len(k) + len(v)); t.long && t.large >= mostLarge {
		return t.split()
	}
	return nil
}

// mostLarge limits the memory of a long transaction: Badger counts only the keys of values
// that go to its value log.
const mostLarge = 4 << 20

// Delete removes the key. A missing key is not an error.
func (t *Txn) Delete(k Key) error {
	return t.write("delete", k, func() error { return t.txn.Delete(k) })
}

func (t *Txn) write(op string, k Key, do func() error) error {
	err := do()
	if errors.Is(err, badger.ErrTxnTooBig) && t.long {
		if err := t.split(); err != nil {
			return err
		}
		err = do()
	}
	return wrap(op, k, err)
}

// split commits what a long transaction has written, and continues with a new one.
func (t *Txn) split() error {
	if err := t.commit(); err != nil {
		return err
	}
	t.txn = t.db.NewTransaction(true)
	return nil
}

// Entry is a key and its value.
type Entry struct {
	Key   Key
	Value []byte
}
