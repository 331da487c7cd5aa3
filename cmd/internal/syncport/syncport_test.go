package syncport

import "testing"

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"srv": "srv:2005", "srv:csync": "srv:2005", "srv:99": "srv:99", "[::1]:99": "[::1]:99", "::1": "[::1]:2005", "/run/sock": "/run/sock",
	} {
		if got, err := address(in, "2005"); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
	}
}
