package mailtext_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/internal/mailtext"
)

func header(t *testing.T, text string) mailtext.Header {
	t.Helper()
	h, err := mailtext.ReadHeader(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestDecode(t *testing.T) {
	for v, want := range map[string]string{
		"plain":                        "plain",
		"=?UTF-7?Q?+AOk-t+AOk-?=":      "été",
		"=?utf-7?B?K0FPay10K0FPay0=?=": "été",
		"\x1b$B@8$NF|K\\8l\x1b(B":      "生の日本語",
		"=?ISO-2022-JP?B?GyRCMnE1RCROJCpDTiRpJDsbKEI=?=":             "会議のお知らせ",
		"rohe Umlaute äöü":                                           "rohe Umlaute äöü",
		"rohe Umlaute \xe4\xf6\xfc":                                  "rohe Umlaute äöü",
		"=?utf-8?B?Z3LD?= =?utf-8?B?vMOfZQ==?=":                      "grüße",
		"=?utf-8?Q?gr=C3?=\t=?UTF-8?Q?=BC=C3=9Fe?=":                  "grüße",
		"=?utf-8?Q?gr=C3=BC?= und =?utf-8?Q?gr=C3=BC?=":              "grü und grü",
		"=?koi8-r?Q?=F0=D2=C9=D7=C5=D4?= =?koi8-r?Q?_=CD=C9=D2?=":    "Привет мир",
		"=?us-ascii*en?Q?lang_tagged?=":                              "lang tagged",
		"=?ks_c_5601-1987?B?vsiz5w==?=":                              "안녕",
		"=?big5?B?t3zEs7Nxqr4=?=":                                    "會議通知",
		"=?gb18030?B?1cXI/Q==?=":                                     "张三",
		"=?utf-8?B?Z3JtZQ?=":                                         "grme", // without padding
		"=?utf-8?q?a b?=":                                            "a b",
		"=?nothing?q?a?= b":                                          "=?nothing?q?a?= b",
		"=?utf-8?B?*?= b":                                            "=?utf-8?B?*?= b",
		"a =?utf-8?q?b?= c":                                          "a b c",
		"=?utf-8?q?=C3=A4?= =?iso-8859-1?q?=E4?= =?utf-8?q?=C3=A4?=": "äää",
	} {
		if got := mailtext.Decode(v, ""); got != want {
			t.Errorf("%q: %q, want %q", v, got, want)
		}
	}
	if got := mailtext.Decode("\xf0\xd2\xc9\xd7\xc5\xd4", "koi8-r"); got != "Привет" {
		t.Errorf("the charset of the body was not used: %q", got)
	}
}

func TestAddresses(t *testing.T) {
	for v, want := range map[string]string{
		"bob@example.org":                                                     "bob@example.org",
		"Bob B. <bob@example.org>":                                            "Bob B. <bob@example.org>",
		"<bob@\t example.org>":                                                "<bob@example.org>",
		"bob (the \\) (nested) one) @ example . org (Ltd)":                    "bob@example.org",
		`"O\"Brien, Pat" <pat@x.y>`:                                           `O"Brien, Pat <pat@x.y>`,
		"=?utf-8?q?Zo=C3=AB?= <zoe@ example.org>":                             "Zoë <zoe@example.org>",
		"=?utf-8?Q?Doe,_J._(x)?= <doe@x.y>, b@c":                              "Doe, J. (x) <doe@x.y>, b@c",
		`"=?utf-8?q?Zo=C3=AB?=" <z@x.y>`:                                      "Zoë <z@x.y>",
		"=?utf-8?B?Z3LD?= =?utf-8?B?vMOfZQ==?= <g@x.y>":                       "grüße <g@x.y>",
		`Friends: "P" <pat@x.y>, jo (Joe) @ z . w;, undisclosed-recipients:;`: "Friends: P <pat@x.y>, jo@z.w;, undisclosed-recipients:;",
		"":      "",
		`"open`: "open",
		"(open": "",
	} {
		if got := mailtext.Addresses(v, ""); got != want {
			t.Errorf("%q: %q, want %q", v, got, want)
		}
	}
}

func TestContains(t *testing.T) {
	h := header(t, "From: \"O\\\"Brien\" <pat@\r\n example.org>\r\nSubject : GRU\u0308SSE\r\n\t=?utf-8?q?_=EF=BC=A1?=\r\nTo: \xf0\xd2\xc9\xd7\xc5\xd4 <a@b>\r\n"+
		"Message-ID:\r\n <fold@odd>\r\nno field\r\n\r\nSubject: body\r\n")
	for _, tt := range []struct {
		field, text string
		want        bool
	}{{"from", "pat@example.org", true}, {"from", `o"brien`, true}, {"subject", "grüße a", true}, {"to", "привет", true}, {"to", "A@B", true},
		{"subject", "body", false}, {"cc", "a@b", false}} {
		if h.Contains(mailtext.Fold(tt.text), tt.field) != tt.want {
			t.Errorf("%s has %q: want %t", tt.field, tt.text, tt.want)
		}
	}
	if !h.HasID("fold@odd") || !h.HasID("<FOLD@odd>") || h.HasID("old@odd") {
		t.Error("Message-ID", h["message-id"])
	}
}

// Messages of real programs: each message in testdata/odd has the expected text.
func TestOddMessages(t *testing.T) {
	for _, tt := range []struct{ file, field, text string }{
		{"utf7", "subject", "été"}, {"raw2022", "subject", "日本語"}, {"raw8subj", "from", "jürgen"}, {"rawlatin1", "subject", "äöü"},
		{"iso2022", "from", "山田"}, {"splitmb", "subject", "grüße"}, {"groupaddr", "to", "jo@z.w"}, {"groupaddr", "to", `o"brien, pat <pat@x.y>`},
		{"groupaddr", "cc", "zoë <zoe@example.org>"}, {"foldid", "subject", "folded"}, {"spacecolon", "subject", "sc"},
	} {
		f, err := os.Open(filepath.Join("testdata", "odd", tt.file+".eml"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := mailtext.ReadHeader(bufio.NewReader(f))
		f.Close()
		if err != nil || !h.Contains(mailtext.Fold(tt.text), tt.field) {
			t.Errorf("%s: %s has no %s: %q, %v", tt.file, tt.field, tt.text, h[tt.field], err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	files, _ := filepath.Glob("testdata/odd/*.eml")
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, s string) {
		defer fuzztest.Limit(t, 16<<20+16<<10*int64(len(s)))()
		h, err := mailtext.ReadHeader(bufio.NewReader(strings.NewReader(s)))
		if err != nil {
			t.Fatal(err)
		}
		for name := range h {
			h.Text(name)
			h.Contains("x", name)
		}
		if err := mailtext.Attachments(strings.NewReader(s), func(mailtext.Attachment) bool { return true }); err != nil {
			t.Fatal(err)
		}
	})
}
