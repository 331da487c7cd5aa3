package tripwire

import (
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// FuzzParse parses backup_tripwire. A rule that is accepted has one text.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"no", "30% 7d 100", "100 24h 50%", "1% 1h 1", "5%d 7d 1", "% d 0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fuzztest.Within(t, 16<<10+64*int64(len(text)), func() {
			r, err := Parse(text)
			if err != nil {
				return
			}
			if again, err := Parse(r.String()); err != nil || again != r {
				t.Errorf("%q is %+v, and its text %q is %+v, %v", text, r, r, again, err)
			}
		})
	})
}
