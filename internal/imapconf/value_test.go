package imapconf

import (
	"math"
	"strings"
	"testing"
)

func TestParseValues(t *testing.T) {
	duration := Option{Type: Duration}
	days := Option{Type: Duration, Unit: 'd'}
	size := Option{Type: Size}
	kilo := Option{Type: Size, Unit: 'K'}
	number := Option{Type: Int}
	enum := Option{Type: Enum, Words: []string{"off", "min", "on"}}
	auto := Option{Type: Enum, Words: []string{"auto", "yes", "no"}}
	list := Option{Type: List, Words: []string{"on", "off"}}
	const bad = math.MinInt64
	tests := []struct {
		option *Option
		text   string
		want   int64
	}{
		// Most cases are from Cyrus's own cunit/libconfig.testc.
		{&duration, "1s", 1}, {&duration, "1m", 60}, {&duration, "1h", 3600}, {&duration, "1d", 86400},
		{&duration, "1h30m", 5400}, {&duration, "30m1h", 5400}, {&duration, "1m1m", 120},
		{&duration, "0", 0}, {&duration, "007", 7}, {&duration, "-5m", -300}, {&duration, "1h30", 3630},
		{&days, "7", 7 * 86400}, {&days, "7d", 7 * 86400}, {&days, "60s", 60}, {&days, "-1", -86400},
		{&duration, "2147483647", math.MaxInt32}, {&duration, "2147483648", bad},
		{&duration, "24855d", 24855 * 86400}, {&duration, "24856d", bad}, {&duration, "99999999999999999999", bad},
		{&duration, "", bad}, {&duration, "-", bad}, {&duration, "s", bad}, {&duration, "1w", bad},
		{&duration, "1D", bad}, {&duration, "1 h", bad}, {&duration, "--1", bad}, {&duration, "1hm", bad},

		{&size, "10", 10}, {&size, "10B", 10}, {&size, "10b", 10}, {&size, "10K", 10240}, {&size, "10k", 10240},
		{&size, "10KB", 10240}, {&size, "10KiB", 10240}, {&size, "10Ki", 10240}, {&size, "10 KiB", 10240},
		{&size, "10\t kib", 10240}, {&size, "1M", mib}, {&size, "1GiB", gib}, {&size, "-1", -1}, {&size, "+1K", 1024},
		{&kilo, "3", 3072}, {&kilo, "3B", 3}, {&kilo, "3M", 3 * mib},
		{&size, "9223372036854775807", math.MaxInt64}, {&size, "9223372036854775808", bad},
		{&size, "8589934591G", 8589934591 << 30}, {&size, "8589934592G", bad}, {&size, "-8589934592G", math.MinInt64 + 0},
		{&size, "", bad}, {&size, "K", bad}, {&size, "1T", bad}, {&size, "1iB", bad}, {&size, "1 K B", bad}, {&size, "1.5M", bad},

		{&number, "10", 10}, {&number, "-10", -10}, {&number, "+10", 10}, {&number, "0x1F", 31}, {&number, "0X1f", 31},
		{&number, "017", 15}, {&number, "0", 0}, {&number, "2147483647", math.MaxInt32},
		{&number, "2147483648", bad}, {&number, "08", bad}, {&number, "0x", bad}, {&number, "", bad}, {&number, "-", bad},
		{&number, "+-1", bad}, {&number, "0x-1", bad}, {&number, "1_0", bad}, {&number, "0b1", bad}, {&number, "1 ", bad}, {&number, "ten", bad},

		{&enum, "off", 0}, {&enum, "min", 1}, {&enum, "on", 2}, {&enum, "yes", 2}, {&enum, "1", 2}, {&enum, "true", 2},
		{&enum, "f", 0}, {&enum, "no", 0}, {&enum, "On", bad}, {&enum, "off min", bad}, {&enum, "", bad},
		{&auto, "on", 1}, {&auto, "1", 1}, {&auto, "off", 2}, {&auto, "auto", 0}, {&auto, "maybe", bad},
		{&list, "on", 0}, {&list, "yes", bad},
	}
	for _, tt := range tests {
		got, err := tt.option.parse(tt.text)
		wantErr := tt.want == bad && tt.text != "-8589934592G"
		if (err != nil) != wantErr || !wantErr && got != tt.want {
			t.Errorf("%v %q = %d, %v, want %d", tt.option.Type, tt.text, got, err, tt.want)
		}
	}
}

func TestParseSwitch(t *testing.T) {
	o := Option{Type: Switch}
	for text, want := range map[string]int64{
		"1": 1, "yes": 1, "y": 1, "on": 1, "t": 1, "true": 1, "yes # for now": 1,
		"0": 0, "no": 0, "n": 0, "off": 0, "f": 0, "false": 0, "of": 0,
	} {
		if got, err := o.parse(text); err != nil || got != want {
			t.Errorf("%q = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "o", "Yes", "2", "maybe", "ox"} {
		if _, err := o.parse(text); err == nil {
			t.Errorf("%q: accepted", text)
		}
	}
}

func TestBounds(t *testing.T) {
	pack := Option{Type: Size, Min: 8 * mib, Max: 16 * mib}
	for text, want := range map[string]string{"7M": "too small", "17M": "too large"} {
		if _, err := pack.parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if got, want := pack.Allowed(), "a number with K, M or G, such as 12M (without a unit: B), from 8M to 16M"; got != want {
		t.Errorf("allowed: %s", got)
	}
	floor := Option{Type: Duration, Floor: 3}
	if n, err := floor.parse("-1"); n != 3 || err != nil {
		t.Errorf("floor: %d, %v", n, err)
	}
}

// TestTable checks every default against its own option's rules.
func TestTable(t *testing.T) {
	options := Options()
	byName := map[string]Option{}
	for _, o := range options {
		if _, dup := byName[o.Name]; dup {
			t.Errorf("%s is listed twice", o.Name)
		}
		byName[o.Name] = o
	}
	for _, o := range options {
		if strings.ToLower(o.Name) != o.Name {
			t.Errorf("%s: not lower case", o.Name)
		}
		if o.ReplacedBy == "" && o.Doc == "" {
			t.Errorf("%s has no Doc", o.Name)
		}
		if o.ReplacedBy != "" && byName[o.ReplacedBy].Type != o.Type {
			t.Errorf("%s has another type than its replacement", o.Name)
		}
		if (o.Type == Enum || o.Type == List) && o.Default == "" {
			t.Errorf("%s has no default", o.Name)
		}
		if o.Default != "" {
			if _, err := o.parse(o.Default); err != nil {
				t.Errorf("%s: default %q: %v", o.Name, o.Default, err)
			}
		}
	}
}
