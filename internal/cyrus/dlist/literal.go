package dlist

// number reads decimal digits, at least one, below 2^63.
func (d *Decoder) number() (int64, error) {
	var n int64
	for digits := 0; ; digits++ {
		c, err := d.peek()
		if err != nil {
			return 0, err
		}
		if c < '0' || c > '9' {
			if digits == 0 {
				return 0, d.syntax("number expected")
			}
			return n, nil
		}
		if n > (1<<63-10)/10 {
			return 0, d.syntax("number too large")
		}
		d.take(1)
		n = n*10 + int64(c-'0')
	}
}

// literalHead reads {N} or {N+} and its line end; the brace is next.
func (d *Decoder) literalHead() (int64, error) {
	d.take(1)
	n, err := d.number()
	if err != nil {
		return 0, err
	}
	c, err := d.peek()
	if err != nil {
		return 0, err
	}
	if c == '+' {
		d.take(1)
	}
	if err := d.headEnd(); err != nil {
		return 0, err
	}
	return n, nil
}

// headEnd reads the } CR? LF of a literal's head.
func (d *Decoder) headEnd() error {
	c, err := d.peek()
	if err != nil {
		return err
	}
	if c != '}' {
		return d.syntax("} expected after the size of a literal")
	}
	d.take(1)
	return d.lineEnd("line end expected after the head of a literal")
}

// literal reads a literal into memory. If it is too large, literal returns an error and the
// next read skips it.
func (d *Decoder) literal() ([]byte, error) {
	n, err := d.literalHead()
	if err != nil {
		return nil, err
	}
	if n > d.lim.MaxLiteral {
		// The literal can be skipped and the open lists are known, so d.syntax is not used.
		d.pending = n
		return nil, &SyntaxError{Msg: "literal too large", Offset: d.off}
	}
	if n <= int64(d.r.Buffered()) {
		w, err := d.r.Peek(int(n))
		if err != nil {
			return nil, lost(err)
		}
		d.take(int(n))
		return w, nil
	}
	d.scratch = d.scratch[:0]
	// Allocate for the bytes that arrive, not for the announced size.
	for int64(len(d.scratch)) < n {
		w, err := d.window()
		if err != nil {
			return nil, err
		}
		w = w[:min(int64(len(w)), n-int64(len(d.scratch)))]
		if err := d.gather(w, n); err != nil {
			d.pending = n - int64(len(d.scratch))
			return nil, err
		}
		d.take(len(w))
	}
	return d.scratch, nil
}
