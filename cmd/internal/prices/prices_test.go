package prices

import (
	"strings"
	"testing"
)

// A wrong price is refused, and the error names it.
func TestParse(t *testing.T) {
	for option, want := range map[string]string{
		"EUR storage=0.02 put=0.005": "",
		"EUR storage=1 get=0.0004":   "",
		"EUR":                        "",
		"0.02":                       "begin with the currency",
		"storage=0.02":               "begin with the currency",
		"EUR storage=cheap":          `storage: "cheap" is not a price`,
		"EUR storage=-1":             "is not a price",
		"EUR storage=NaN":            `"NaN" is not a price`,
		"EUR delete=1":               `"delete=1"`,
		"EUR USD":                    `"USD"`,
	} {
		_, err := Parse(option)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", option, err, want)
		}
	}
}
