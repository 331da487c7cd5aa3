package dlist

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendString(t *testing.T) {
	long := strings.Repeat("x", 1024)
	for in, want := range map[string]string{
		"":           `""`,
		"NIL":        `"NIL"`,
		"nil":        "nil",
		"user.a^b!c": "user.a^b!c",
		"a]b[}<@>":   "a]b[}<@>",
		"a b":        `"a b"`,
		"a\tb":       "\"a\tb\"",
		"a{":         `"a{"`,
		"*":          `"*"`,
		"a%b":        "{3+}\r\na%b",
		`a\b`:        "{3+}\r\na\\b",
		`a"b`:        "{3+}\r\na\"b",
		"a\nb":       "{3+}\r\na\nb",
		"a\x00b":     "{3+}\r\na\x00b",
		"ä":          "{2+}\r\nä",
		long:         "{1024+}\r\n" + long,
		long[1:]:     long[1:],
	} {
		if got := string(AppendString(nil, in, true)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := string(AppendString(nil, "ä", false)); got != "{2}\r\nä" {
		t.Errorf("server literal: %q", got)
	}
}

// TestAppendEveryByte checks the form of each byte, alone and within a text (lib/imparse.c,
// imparse_isnatom; lib/prot.c, prot_printamap).
func TestAppendEveryByte(t *testing.T) {
	for c := range 256 {
		quote, literal := false, false
		switch c {
		case 0, '\r', '\n', '"', '%', '\\':
			literal = true
		case ' ', '{', '(', ')', '*', 0x7f:
			quote = true
		default:
			literal, quote = c >= 0x80, c < 0x1f
		}
		for _, in := range []string{string([]byte{byte(c)}), "a" + string([]byte{byte(c)}) + "b", " " + string([]byte{byte(c)})} {
			want := in
			switch {
			case literal:
				want = fmt.Sprintf("{%d}\r\n%s", len(in), in)
			case quote || in[0] == ' ':
				want = `"` + in + `"`
			}
			if got := string(AppendString(nil, in, false)); got != want {
				t.Errorf("%q: %q, want %q", in, got, want)
			}
		}
	}
}

func TestAppend(t *testing.T) {
	v := KV(P("A", L(F(`\Seen`), F("$x"), N(7), Hex64(0xabc), Value{})), P("B c", KV()), P("D", S("a b")))
	want := `%(A (\Seen $x 7 0000000000000abc NIL) "B c" %() D "a b")`
	if got := string(Append(nil, v, false)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// anyValue generates values of every kind, in decoded form.
func anyValue(depth int) *rapid.Generator[Value] {
	str := rapid.OneOf(rapid.String(), rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes"))
	}), rapid.SampledFrom([]string{"NIL", "", "a b", strings.Repeat("q", 1023), strings.Repeat("q ", 600), "123", `\Seen`}))
	return rapid.Custom(func(t *rapid.T) Value {
		top := 5
		if depth <= 0 {
			top = 3
		}
		switch rapid.IntRange(0, top).Draw(t, "kind") {
		case 0:
			return Value{}
		case 1:
			return S(str.Draw(t, "s"))
		case 2:
			return F(rapid.StringMatching(`\\[A-Za-z$%{}*\\]{0,8}`).Draw(t, "flag"))
		case 3:
			return Value{Kind: File, File: FileInfo{Partition: str.Draw(t, "p"), GUID: rapid.StringMatching(`[0-9a-f]{40}`).Draw(t, "g")}}
		case 4:
			v := Value{Kind: List}
			for range rapid.IntRange(0, 4).Draw(t, "n") {
				v.Items = append(v.Items, anyValue(depth-1).Draw(t, "item"))
			}
			return v
		default:
			v := Value{Kind: KVList}
			for range rapid.IntRange(0, 4).Draw(t, "n") {
				v.Pairs = append(v.Pairs, Pair{str.Draw(t, "key"), anyValue(depth-1).Draw(t, "value")})
			}
			return v
		}
	})
}

func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue(3).Draw(t, "v")
		plus := rapid.Bool().Draw(t, "plus")
		wire := Append(nil, v, plus)
		got := decodeWhole(t, append(append([]byte("K "), wire...), "\r\n"...))
		if !reflect.DeepEqual(got, v) {
			t.Fatalf("wire %q gives %+v, want %+v", wire, got, v)
		}
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var back Value
		if err := json.Unmarshal(j, &back); err != nil {
			t.Fatalf("%s: %v", j, err)
		}
		if w := Append(nil, back, plus); !bytes.Equal(w, wire) {
			t.Fatalf("JSON %s gives wire %q, want %q", j, w, wire)
		}
	})
}

func decodeWhole(t rapid.TB, b []byte) Value {
	d := NewDecoder(bufio.NewReader(bytes.NewReader(b)), Limits{})
	if _, err := d.Key(); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	v, err := d.Value()
	if err == nil {
		err = d.End()
	}
	if err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return v
}

func TestJSONForms(t *testing.T) {
	v := L(Value{}, S("ä\x00\n\"\u2028"), S("\xff"), F(`\Seen`), N(5), KV(P("K", S("v")), P("\xfe", L())),
		Value{Kind: File, File: FileInfo{"p", "ab", 1 << 60}})
	want := `[null,"ä\u0000\n\"` + "\u2028" + `",{"b64":"/w=="},{"flag":"\\Seen"},"5",{"kv":[["K","v"],[{"b64":"/g=="},[]]]},` +
		`{"file":{"partition":"p","guid":"ab","size":"1152921504606846976"}}]`
	if got := string(AppendJSON(nil, v)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, bad := range []string{"5", "true", "{}", `{"x":1}`, `{"kv":[["a"]]}`, `{"kv":[[null,null]]}`, `{"flag":null}`} {
		var v Value
		if err := json.Unmarshal([]byte(bad), &v); err == nil {
			t.Errorf("%s: accepted as %+v", bad, v)
		}
	}
}

func TestGetters(t *testing.T) {
	v := KV(P("S", S("x")), P("NIL", Value{}), P("NUL", S("a\x00")), P("N", N(1<<40)), P("L", L(S("a"))),
		P("G", S(strings.Repeat("ab", 20))), P("OLD", N(1<<64-5)), P("S", S("second")))
	if s, ok, err := v.Text("S"); s != "x" || !ok || err != nil {
		t.Error(s, ok, err)
	}
	if s, ok, err := v.Text("NIL"); s != "" || !ok || err != nil {
		t.Error(s, ok, err)
	}
	if _, ok, err := v.Text("MISSING"); ok || err != nil {
		t.Error(ok, err)
	}
	if p, ok, err := v.Buf("NIL"); p != nil || !ok || err != nil {
		t.Error(p, ok, err)
	}
	if p, _, err := v.Buf("NUL"); err != nil || *p != "a\x00" {
		t.Error(p, err)
	}
	if n, _, err := v.Num64("N"); n != 1<<40 || err != nil {
		t.Error(n, err)
	}
	if d, _, err := v.Date("OLD"); d != -5 || err != nil {
		t.Error(d, err)
	}
	if g, _, err := v.GUID("G"); g[19] != 0xab || err != nil {
		t.Error(g, err)
	}
	if l, ok, err := v.List("NIL"); l != nil || !ok || err != nil {
		t.Error(l, ok, err)
	}
	for want, err := range map[string]error{
		"NUL: contains NUL":                 third(v.Text("NUL")),
		"L: want a string, have a list":     third(v.Text("L")),
		"N: want a 32-bit decimal number":   third(v.Num32("N")),
		"S: want a 64-bit decimal number":   third(v.Num64("S")),
		"S: want 40 hex digits":             third(v.GUID("S")),
		"NIL: want 40 hex digits":           third(v.GUID("NIL")),
		"S: want a list, have a string":     third(v.List("S")),
		"NIL: want a 64-bit decimal number": third(v.Num64("NIL")),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }
