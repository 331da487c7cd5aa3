package cyrus

import "testing"

func TestShortSessionID(t *testing.T) {
	for id, want := range map[string]string{
		"backup.example.com-1795827378-401-1-12678016904445643090": "1795827378-401-1",
		"my-host-1795827378-401-12-0":                              "1795827378-401-12",
		"line 17 of an import":                                     "line 17 of an import",
		"repair":                                                   "repair",
		"":                                                         "",
	} {
		if got := ShortSessionID(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}
