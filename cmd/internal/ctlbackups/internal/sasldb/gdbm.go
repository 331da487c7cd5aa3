package sasldb

import (
	"encoding/base64"
	"io"
	"strconv"
	"strings"
)

// readGDBM reads what gdbm_dump writes: comments, then for each key and each value its length and its bytes in base64,
// on one or more lines, and at the end the number of records.
func readGDBM(l *lines, fn func(Entry) error) error {
	g := &gdbm{lines: l}
	for {
		line, err := l.more()
		if err != nil {
			return err
		}
		if line == "# End of header" {
			break
		}
		if !strings.HasPrefix(line, "#") {
			return l.fault("the header has no end")
		}
	}
	if err := g.step(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if count, found := strings.CutPrefix(g.line, "#:count="); found {
			if count != strconv.Itoa(n) {
				return l.fault("the dump has %d records, and not the number of this line", n)
			}
			return g.end()
		}
		key, err := g.datum()
		if err != nil {
			return err
		}
		value, err := g.datum()
		if err != nil {
			return err
		}
		e, err := entry(l, key, value)
		if err == nil {
			err = fn(e)
		}
		if err != nil {
			return err
		}
	}
}

// gdbm is a reader that has read one line ahead.
type gdbm struct {
	*lines
	line string
}

func (g *gdbm) step() (err error) {
	g.line, err = g.more()
	return err
}

// datum reads a key or a value.
func (g *gdbm) datum() ([]byte, error) {
	text, found := strings.CutPrefix(g.line, "#:len=")
	size, err := strconv.Atoi(text)
	if !found || err != nil || size < 0 || size > maxLine {
		return nil, g.fault("it is not the length of a key or a value")
	}
	var b strings.Builder
	for {
		if err := g.step(); err != nil {
			return nil, err
		}
		if strings.HasPrefix(g.line, "#") {
			break
		}
		if b.WriteString(g.line); b.Len() > base64.StdEncoding.EncodedLen(size) {
			return nil, g.fault("the key or value is longer than its length")
		}
	}
	out, err := base64.StdEncoding.DecodeString(b.String())
	if err != nil || len(out) != size {
		return nil, g.fault("the key or value before it does not have its length")
	}
	return out, nil
}

// end reads the last line.
func (g *gdbm) end() error {
	if err := g.step(); err != nil {
		return err
	}
	if g.line != "# End of data" {
		return g.fault("the dump has no end")
	}
	if _, err := g.next(); err != io.EOF {
		return g.fault("something follows the end of the dump")
	}
	return nil
}
