package exactjson

import (
	"math"
	"testing"
)

func TestScanner(t *testing.T) {
	s := Over([]byte(`{"n":18446744073709551615,"h":"0aff"}`))
	var h [2]byte
	s.Want(`{"n":`)
	n := s.Number(math.MaxUint64)
	s.Want(`,"h":"`)
	s.Hex(h[:])
	if s.Has(`]`) {
		t.Error("found a bracket that is not there")
	}
	s.Want(`"}`)
	if !s.Ended() || n != math.MaxUint64 || h != [2]byte{0x0a, 0xff} {
		t.Errorf("%v, number %d, hex %x", s, n, h)
	}
}

func TestScannerRefuses(t *testing.T) {
	for _, in := range []string{"", "x", "01", "00", "18446744073709551616", "-1", "+1"} {
		if s := Over([]byte(in)); s.Number(math.MaxUint64) != 0 || s.OK {
			t.Errorf("number %q: %v", in, s)
		}
	}
	if s := Over([]byte("256")); s.Number(255) != 0 || s.OK {
		t.Errorf("a number above the limit: %v", s)
	}
	for _, in := range []string{"", "0", "0A", "0g", "g0"} {
		var b [1]byte
		if s := Over([]byte(in)); func() bool { s.Hex(b[:]); return s.OK }() {
			t.Errorf("hex %q is accepted", in)
		}
	}
	s := Over([]byte("ab"))
	s.Want("b")
	if s.Want("ab"); s.OK || s.Ended() || s.Has("ab") {
		t.Error("a scanner continues after a difference")
	}
}
