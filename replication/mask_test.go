package replication

import (
	"strings"
	"testing"
)

// However the chunks of a connection are cut, a credential after the login is hidden, and every
// other byte is copied.
func TestMaskedCredentials(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, sent, want string }{
		{"initial response", "NOOP\r\nAUTHENTICATE PLAIN c2VjcmV0\r\nNOOP\r\n", "NOOP\r\nAUTHENTICATE PLAIN ********\r\nNOOP\r\n"},
		{"lower case, LF", "authenticate plain c2VjcmV0\nNOOP\n", "authenticate plain ********\nNOOP\n"},
		{"indented", " AUTHENTICATE PLAIN c2VjcmV0\r\n", " AUTHENTICATE PLAIN ********\r\n"},
		{"response in the next line", "AUTHENTICATE PLAIN\r\nc2VjcmV0\r\nNOOP\r\n", "AUTHENTICATE PLAIN\r\n********\r\nNOOP\r\n"},
		{"literal", "AUTHENTICATE PLAIN {8+}\r\nc2VjcmV0\r\nNOOP\r\n", "AUTHENTICATE PLAIN ********\r\n********\r\nNOOP\r\n"},
		{"two", "AUTHENTICATE A c2VjcmV0\r\nAUTHENTICATE B c2VjcmV0\r\n", "AUTHENTICATE A ********\r\nAUTHENTICATE B ********\r\n"},
		{"none", "APPLY MESSAGE (%{p 0 5}\r\nAUTH\r\n)\r\nAUTHENTICATED user\r\n", "APPLY MESSAGE (%{p 0 5}\r\nAUTH\r\n)\r\nAUTHENTICATED user\r\n"},
	} {
		for size := 1; size <= len(c.sent); size++ {
			var m mask
			var out strings.Builder
			for rest := c.sent; rest != ""; {
				n := min(size, len(rest))
				out.Write(m.hide([]byte(rest[:n])))
				rest = rest[n:]
			}
			if out.String() != c.want {
				t.Fatalf("%s in chunks of %d: got %q, want %q", c.name, size, out.String(), c.want)
			}
		}
	}
}
