package tripwire

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Rule{
		"30% 1d 500":    {30, 24 * time.Hour, 500},
		" 500  30% 1d ": {30, 24 * time.Hour, 500},
		"100% 36h 1":    {100, 36 * time.Hour, 1},
		"no":            {},
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q: %v, %v", got.String(), again, err)
		}
	}
	for _, text := range []string{"", "yes", "30%", "30% 1d", "30% 1d 500 500", "0% 1d 500", "101% 1d 500", "30% 30m 500", "30% 31d 500", "30% 1d 0",
		"30% 1d 2d", "30 1d 500", "x% 1d 500", "30% d 500", "30% 1d 5x", "30%% 1d 5", "-30% 1d 5", "30% 99999999999d 5", "no 1d 5"} {
		if r, err := Parse(text); err == nil {
			t.Errorf("%q: %v, want an error", text, r)
		}
	}
}

// A sample of the messages gives about the same share.
func TestSample(t *testing.T) {
	full, sample := new(table), &table{skip: 3}
	at := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC).Unix()
	for i := range uint64(16000) {
		key := i * 0x9e3779b97f4a7c15
		full.gone = append(full.gone, deletion{key, at + int64(i%3600)})
		if key&7 == 0 {
			sample.gone = append(sample.gone, deletion{key, at + int64(i%3600)})
		}
	}
	r := Rule{Share: 30, Window: 24 * time.Hour, Least: 500}
	a, b := full.windows(r), sample.windows(r)
	if len(a) != 1 || len(b) != 1 || a[0].n != 16000 || a[0].from != b[0].from {
		t.Fatalf("%v, %v", a, b)
	}
	if n := b[0].n << sample.skip; n < 15000 || n > 17000 {
		t.Errorf("the sample estimates %d", n)
	}
}
