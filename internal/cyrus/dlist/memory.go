package dlist

import "fmt"

const (
	// freeMemory is what a command may hold without a loan, in bytes. Almost every command fits.
	freeMemory = 64 << 10
	// loanUnit is the unit of loans.
	loanUnit = 64 << 10
	// itemMemory is what a Value or Pair in a list takes in addition to its strings.
	itemMemory = 160
)

// Loans limit the memory that the commands of many Decoders hold at the same time. Bodies of files
// are not included, because they stream.
type Loans struct {
	// Lend is called before a command holds n more bytes. After an error the command fails with a
	// *MemoryError. nil = no limit.
	Lend func(n int64) error
	// Return gives back n bytes. Required with Lend.
	Return func(n int64)
}

// MemoryError is returned if a command may not hold more memory. SkipLine continues after it.
type MemoryError struct {
	Bytes int64 // that the command would have held
	Err   error // from Loans
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("the command needs %d bytes of memory: %v", e.Bytes, e.Err)
}

func (e *MemoryError) Unwrap() error { return e.Err }

// Held returns what the values of the current command take, for Release.
func (d *Decoder) Held() int64 { return d.held }

// Hold counts n bytes that the caller keeps of the current command.
func (d *Decoder) Hold(n int64) error {
	if err := d.borrow(d.held + n + int64(cap(d.scratch))); err != nil {
		return err
	}
	d.held += n
	return nil
}

// Release forgets the values since Held returned held: they are not used any more. A command ends
// with Release(0).
func (d *Decoder) Release(held int64) {
	if d.held = held; held == 0 {
		d.key = ""
	}
	if cap(d.scratch) > freeMemory {
		d.scratch = nil
	}
	if spare := d.lent - loan(d.held+int64(cap(d.scratch))); spare > 0 {
		d.lent -= spare
		d.lim.Loans.Return(spare)
	}
}

// loan returns what must be lent so that a command may hold n bytes.
func loan(n int64) int64 {
	return max(0, (n-freeMemory+loanUnit-1)/loanUnit*loanUnit)
}

// borrow makes sure that the command may hold n bytes in total.
func (d *Decoder) borrow(n int64) error {
	more := loan(n) - d.lent
	if more <= 0 || d.lim.Loans.Lend == nil {
		return nil
	}
	if err := d.lim.Loans.Lend(more); err != nil {
		return &MemoryError{Bytes: n, Err: err}
	}
	d.lent += more
	return nil
}

// keep makes a string of b that the caller may keep.
func (d *Decoder) keep(b []byte) (string, error) {
	if len(b) > internMaxLen {
		if err := d.Hold(int64(len(b))); err != nil {
			return "", err
		}
	}
	return d.intern(b), nil
}

// gather appends to scratch. most is the most that scratch will hold.
func (d *Decoder) gather(b []byte, most int64) error {
	need := len(d.scratch) + len(b)
	if need <= cap(d.scratch) {
		d.scratch = append(d.scratch, b...)
		return nil
	}
	size := max(need, min(2*cap(d.scratch), int(most)))
	if err := d.borrow(d.held + int64(size)); err != nil {
		return err
	}
	grown := make([]byte, need, size)
	copy(grown[copy(grown, d.scratch):], b)
	d.scratch = grown
	return nil
}
