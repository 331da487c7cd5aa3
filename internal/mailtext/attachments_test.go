package mailtext_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cyrusbackup/backupd/internal/mailtext"
)

func names(t *testing.T, r io.Reader) ([]string, error) {
	t.Helper()
	var out []string
	err := mailtext.Attachments(r, func(a mailtext.Attachment) bool {
		out = append(out, a.Name)
		return true
	})
	return out, err
}

func TestAttachments(t *testing.T) {
	part := func(head string) string { return "--b\r\n" + head + "\r\n\r\nbody\r\n" }
	mixed := func(parts ...string) string {
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Join(parts, "") + "--b--\r\n"
	}
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"none":       {"Subject: x\r\n\r\nbody\r\n", nil},
		"plain":      {mixed(part("Content-Type: text/plain"), part(`Content-Disposition: attachment; filename="a b.pdf"`)), []string{"a b.pdf"}},
		"by type":    {mixed(part("Content-Type: application/pdf; name==?utf-8?q?gr=C3=BC.pdf?=")), []string{"grü.pdf"}},
		"quoted":     {mixed(part("Content-Type: application/pdf;\r\n name=\"=?utf-8?q?gr=C3=BC.pdf?=\"")), []string{"grü.pdf"}},
		"rfc2231":    {mixed(part("Content-Disposition: attachment; filename*0*=utf-8''gr%C3%BC; filename*1=.pdf")), []string{"grü.pdf"}},
		"no name":    {mixed(part("Content-Disposition: attachment")), []string{""}},
		"in text":    {mixed(part("Content-Type: image/png; name=logo.png\r\nContent-ID: <x>\r\nContent-Disposition: inline")), nil},
		"signature":  {mixed(part("Content-Type: application/pkcs7-signature; name=smime.p7s")), nil},
		"not closed": {"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part(`Content-Disposition: attachment; filename=a`), []string{"a"}},
		"wrong":      {mixed(part(`Content-Disposition: attachment; filename="a b.pdf"; ; x`)), []string{"a b.pdf"}},
		"alone":      {"Content-Type: application/pdf; name=a.pdf\r\n\r\nbody", []string{"a.pdf"}},
		"uuencode":   {"Subject: x\r\n\r\nhello\r\nbegin 644 a.txt\r\n#86)C\r\nend\r\n", []string{"a.txt"}},
		"forwarded":  {mixed(part("Content-Type: message/rfc822\r\n\r\nContent-Disposition: attachment; filename=inner.pdf")), []string{"inner.pdf"}},
	} {
		got, err := names(t, strings.NewReader(tt.text))
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tt.want)
		}
	}
}

// Nested parts are searched to a limited depth; an error of the reader is reported.
func TestAttachmentsAreLimited(t *testing.T) {
	deep := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 10_000) + "Content-Disposition: attachment; filename=a\r\n\r\n"
	if got, err := names(t, strings.NewReader(deep)); err != nil || got != nil {
		t.Error(got, err)
	}
	broken := errors.New("broken")
	text := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
	if _, err := names(t, io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Error(err)
	}
}
