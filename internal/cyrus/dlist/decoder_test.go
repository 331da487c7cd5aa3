package dlist

import (
	"bufio"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func decoder(s string, l Limits) *Decoder {
	// Read one byte at a time, because no value may depend on the buffer's contents.
	return NewDecoder(bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(s)), 16), l)
}

func TestValue(t *testing.T) {
	guid := strings.Repeat("0a", 20)
	for _, c := range []struct {
		in   string
		want Value
	}{
		{"anne\r\n", S("anne")},
		{"anne\n", S("anne")},
		{"NIL\r\n", Value{}},
		{"\"NIL\"\r\n", S("NIL")},
		{"N\r\n", S("N")},
		{"NI\r\n", S("NI")},
		{"NILS\r\n", S("NILS")},
		{"nil\r\n", S("nil")},
		{`"a \"b\\ c"` + "\r\n", S(`a "b\ c`)},
		{"{3+}\r\na\x00\n\r\n", S("a\x00\n")},
		{"{3}\na b\n", S("a b")},
		{"{0+}\r\n\r\n", S("")},
		{"\"\"\r\n", S("")},
		{`\Seen` + "\r\n", F(`\Seen`)},
		{"$Label1\r\n", S("$Label1")},
		{"a{5+}\r\n", S("a{5+}")},
		{"()\r\n", L()},
		{"( a \r\n b(c)\"d\"\"e\")\r\n", L(S("a"), S("b"), L(S("c")), S("d"), S("e"))},
		{"%()\r\n", KV()},
		{"%(A 1 B(x)A\"2\")\r\n", KV(P("A", S("1")), P("B", L(S("x"))), P("A", S("2")))},
		{"%( {1+}\r\nA NIL )\r\n", KV(P("A", Value{}))},
		{"%{default " + guid + " 3}\r\nabc\r\n", Value{Kind: File, File: FileInfo{"default", guid, 3}}},
		{"(NIL %{\"a b\" " + guid + " 0}\n NIL)\r\n", L(Value{}, Value{Kind: File, File: FileInfo{"a b", guid, 0}}, Value{})},
	} {
		d := decoder("KEY "+c.in+"NOOP\r\n", Limits{})
		key, err := d.Key()
		if err != nil || key != "KEY" {
			t.Fatalf("%q: key %q, %v", c.in, key, err)
		}
		v, err := d.Value()
		if err != nil || !reflect.DeepEqual(v, c.want) {
			t.Errorf("%q: %+v, %v; want %+v", c.in, v, err, c.want)
			continue
		}
		if err := d.End(); err != nil {
			t.Errorf("%q: end: %v", c.in, err)
		}
		if w, err := d.Word(); w != "NOOP" || err != nil {
			t.Errorf("%q: next word %q, %v", c.in, w, err)
		}
	}
}

func TestSyntaxErrorsResynchronise(t *testing.T) {
	guid := strings.Repeat("0a", 20)
	for _, c := range []struct{ in, msg string }{
		{"KEY\r\n", "value expected after KEY at byte 3"},
		{"\r\n", "value expected at byte 0"},
		{"KEY a b\r\n", "extra data after the value at byte 5"},
		{"KEY )\r\n", "value expected at byte 4"},
		{"KEY %x {3+}\r\na\nb\r\n", "( or { expected after % at byte 4"},
		{"KEY \"abc\r\n", "line end in quoted string at byte 8"},
		{"KEY \"ab\\\r\n", "line end in quoted string at byte 8"},
		{"KEY {x} {2+}\r\na\n\r\n", "number expected at byte 5"},
		{"KEY {3-}\r\n", "} expected after the size of a literal at byte 6"},
		{"KEY {3}x\r\n", "line end expected after the head of a literal at byte 7"},
		{"KEY {99999999999999999999}\r\n", "number too large at byte 23"},
		{"KEY {9+}\r\n(\"\r\nab%{) {1+}\r\n\n)\r\n", "literal too large at byte 10"},
		{"KEY (a {9+}\r\n012345678\r\n b)\r\n", "literal too large at byte 13"},
		{"KEY ((((()))))\r\n", "lists nested too deeply at byte 8"},
		{"KEY (a %(B {99+}\r\n" + strings.Repeat("\r\n(", 33) + " C ((())) D \"x)\" E %{p " + guid + " 5}\r\n\n(\n)\n) d)\r\n", "literal too large at byte 18"},
		{"KEY (%(A %x %{p " + guid + " 5}\r\n\n(\n)\n {2+}\r\n\n\n\r\n", "( or { expected after % at byte 9"},
		{"KEY 0123456789abcdefg{3+}\r\n", "word too long at byte 20"},
		{"KEY \"0123456789abcdefg {3+}\r\n", "quoted string too long at byte 21"},
		{"KEY (1 2 3 4 5 6 7 8 9\r\n 10 11 12 13)\r\n", "too many values at byte 25"},
		{"KEY (%(A)\r\n", "value expected at byte 8"},
	} {
		lim := Limits{MaxWord: 44, MaxQuoted: 16, MaxLiteral: 8, MaxDepth: 4, MaxItems: 10}
		if strings.HasPrefix(c.msg, "word") {
			lim.MaxWord = 16
		}
		d := decoder(c.in+"NOOP\r\n", lim)
		_, err := d.Key()
		if err == nil {
			_, err = d.Value()
		}
		if err == nil {
			err = d.End()
		}
		var s *SyntaxError
		if !errors.As(err, &s) || err.Error() != "dlist: "+c.msg {
			t.Errorf("%q: %v, want %s", c.in, err, c.msg)
			continue
		}
		if err := d.SkipLine(); err != nil {
			t.Errorf("%q: skip: %v", c.in, err)
		}
		if err := d.SkipLine(); err != nil {
			t.Errorf("%q: second skip: %v", c.in, err)
		}
		if w, err := d.Word(); w != "NOOP" || err != nil {
			t.Errorf("%q: next word %q, %v", c.in, w, err)
		}
	}
}

func TestRefusalAtAnyPoint(t *testing.T) {
	guid := strings.Repeat("0a", 20)
	lines := []string{
		"MESSAGE (%{default " + guid + " 10}\r\n0(\r\n%(\"x\r\n %{\"p q\" " + guid + " 4}\r\n\r\n)) NIL)\r\n",
		"MAILBOX %(UNIQUEID x ACL \"a\tb (\" RECORD (%(UID 1 A ({3+}\r\n\n(\" b)) %(UID 2 B \"\\\"\")) C NIL)\r\n",
	}
	refused := errors.New("refused")
	for _, line := range lines {
		for n := 0; ; n++ {
			d := decoder(line+"NOOP\r\n", Limits{})
			left := n
			step := func() error {
				if left--; left < 0 {
					return refused
				}
				return nil
			}
			err := walk(d, step)
			if err == nil {
				break
			}
			if !errors.Is(err, refused) {
				t.Fatal(err)
			}
			if err := d.SkipLine(); err != nil {
				t.Fatalf("after step %d: skip: %v", n, err)
			}
			if w, err := d.Word(); w != "NOOP" || err != nil {
				t.Fatalf("after step %d of %q: next word %q, %v", n, line, w, err)
			}
		}
	}
}

// walk reads a command value by value and calls step before and in each.
func walk(d *Decoder, step func() error) error {
	if err := step(); err != nil {
		return err
	}
	if _, err := d.Key(); err != nil {
		return err
	}
	var value func() error
	value = func() error {
		if err := step(); err != nil {
			return err
		}
		k, err := d.Peek()
		if err != nil {
			return err
		}
		switch k {
		case List:
			return d.List(value)
		case KVList:
			return d.KVList(func(string) error { return value() })
		case File:
			_, body, err := d.File()
			if err != nil {
				return err
			}
			for b := make([]byte, 1); ; {
				if err := step(); err != nil {
					return err
				}
				if _, err := body.Read(b); err == io.EOF {
					return nil
				} else if err != nil {
					return err
				}
			}
		}
		_, _, err = d.Scalar()
		return err
	}
	if err := value(); err != nil {
		return err
	}
	if err := step(); err != nil {
		return err
	}
	return d.End()
}

func TestSkipLineBeforeParsing(t *testing.T) {
	guid := strings.Repeat("0a", 20)
	for _, in := range []string{
		"\r\n", "\n", " user\r\n", " ((((\r\n", " %(A {4+}\r\n\n\n\n\n))))\r\n", " %{p " + guid + " 2}\r\n\n\n\r\n",
		" x{3+}\r\n", " \"{3+}\"\r\n", " \"\\\"{3+}\"\r\n", " {3+\r\n", " {\r\n", " %\r\n", " %{\r\n", " %{a b\r\n", " %{p x 2}\r\n\n\n\r\n",
	} {
		d := decoder("APPLY"+in+"NOOP\r\n", Limits{})
		if _, err := d.Word(); err != nil {
			t.Fatal(err)
		}
		if err := d.SkipLine(); err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if w, err := d.Word(); w != "NOOP" || err != nil {
			t.Errorf("%q: next word %q, %v", in, w, err)
		}
	}
}

func TestCutOff(t *testing.T) {
	line := "MAILBOX %(A (b \"c\" {3+}\r\nabc \\Seen NIL) F %{p " + strings.Repeat("0a", 20) + " 3}\r\nabc)\r\n"
	for n := range line {
		d := decoder(line[:n], Limits{})
		err := walk(d, func() error { return nil })
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", n, err)
		}
		d = decoder(line[:n], Limits{})
		if err := d.SkipLine(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("skip, cut at %d: %v", n, err)
		}
	}
	if _, err := decoder("", Limits{}).Word(); err != io.EOF {
		t.Errorf("no command: %v, want EOF", err)
	}
}

func TestFileBody(t *testing.T) {
	guid := strings.Repeat("0A", 20)
	in := "MESSAGE (%{p " + guid + " 5}\r\nhello %{q " + guid + " 3}\r\n\r\n) NIL)\r\n"
	for _, writeTo := range []bool{false, true} {
		d := decoder(in, Limits{})
		if _, err := d.Key(); err != nil {
			t.Fatal(err)
		}
		var got []string
		err := d.List(func() error {
			if k, _ := d.Peek(); k == Nil {
				got = append(got, "NIL")
				return d.Skip()
			}
			f, r, err := d.File()
			if err != nil {
				return err
			}
			var sb strings.Builder
			if writeTo {
				_, err = io.Copy(&sb, r)
			} else {
				_, err = io.Copy(&sb, struct{ io.Reader }{r})
			}
			got = append(got, f.Partition+":"+sb.String())
			return err
		})
		if err != nil || d.End() != nil {
			t.Fatal(err)
		}
		if want := []string{"p:hello", "q:\r\n)", "NIL"}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFieldErrorsKeepTheStreamAligned(t *testing.T) {
	d := decoder("MAILBOX %(UID x GUID 12 LIST NIL KV (a) N (1) BIG 4294967296 NEG -1)\r\nNOOP\r\n", Limits{})
	if _, err := d.Key(); err != nil {
		t.Fatal(err)
	}
	var msgs []string
	err := d.KVList(func(key string) (err error) {
		switch key {
		case "GUID":
			_, err = d.GUID()
		case "LIST":
			return d.List(d.Skip)
		case "KV":
			if err = d.KVList(func(string) error { return d.Skip() }); err != nil {
				if err := d.Skip(); err != nil {
					return err
				}
			}
		case "N":
			if _, err = d.Num64(); err != nil {
				if err := d.Skip(); err != nil {
					return err
				}
			}
		default:
			_, err = d.Num32()
		}
		if !errors.Is(err, ErrField) {
			t.Errorf("%s: %v does not wrap ErrField", key, err)
		}
		msgs = append(msgs, err.Error())
		return nil
	})
	if err != nil || d.End() != nil {
		t.Fatal(err)
	}
	want := []string{"UID: want a 32-bit decimal number", "GUID: want 40 hex digits", "KV: want a kvlist, have a list",
		"N: want a string, have a list", "BIG: want a 32-bit decimal number", "NEG: want a 32-bit decimal number"}
	if !reflect.DeepEqual(msgs, want) {
		t.Errorf("got %q", msgs)
	}
}
