package prices

import (
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// FuzzParse parses backup_prices. Prices that are accepted are parsed again from their text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"EUR storage=0.02 put=0.005 get=0.0004", "USD", "0.02", "EUR storage=NaN", "EUR get=1e9", "storage=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, option string) {
		fuzztest.Within(t, 16<<10+512*int64(len(option)), func() {
			p, err := Parse(option)
			if err != nil {
				return
			}
			text := fmt.Sprintf("%s storage=%g put=%g get=%g", p.Currency, p.Storage, p.Put, p.Get)
			if again, err := Parse(text); err != nil || again != p {
				t.Errorf("%q is %+v, and %q is %+v, %v", option, p, text, again, err)
			}
			for _, x := range []float64{p.Month(1 << 50), p.Puts(1 << 40), p.Gets(1 << 40)} {
				if !(x >= 0) {
					t.Errorf("%q: a price of %g", option, x)
				}
			}
		})
	})
}
