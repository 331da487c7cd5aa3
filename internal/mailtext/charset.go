package mailtext

import (
	"encoding/base64"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
)

// convert decodes bytes in a charset; false = unknown charset.
func convert(s, name string) (string, bool) {
	switch strings.ToLower(name) {
	case "utf-8", "utf8":
		return strings.ToValidUTF8(s, "\ufffd"), true
	case "utf-7", "utf7", "unicode-1-1-utf-7", "csutf7":
		return fromUTF7(s), true
	}
	r, err := charset.Reader(name, strings.NewReader(s))
	if err != nil {
		return "", false
	}
	out, err := io.ReadAll(r)
	return string(out), err == nil
}

// escapes are the sequences with which ISO-2022-JP switches character sets.
var escapes = regexp.MustCompile(`\x1b(\$[@B]|\$\(D|\([JI])`)

// Unlabelled decodes text without a declared charset. It is UTF-8, or ISO-2022-JP if it has its
// escapes, or the charset of the message's body, or Latin-1, which old programs used undeclared.
func Unlabelled(s, hint string) string {
	if escapes.MatchString(s) {
		if out, ok := convert(s, "iso-2022-jp"); ok {
			return out
		}
	}
	if utf8.ValidString(s) {
		return s
	}
	if out, ok := convert(s, hint); ok && hint != "" && !strings.Contains(out, "\ufffd") {
		return out
	}
	out, _ := convert(s, "windows-1252") // which has every byte
	return out
}

// readings returns, for a search, the possible readings of bytes without a charset. Wrong readings
// do no harm, because they do not contain words that anybody searches for.
func readings(s string) []string {
	if utf8.ValidString(s) {
		return nil
	}
	var out []string
	for _, name := range []string{"utf-8", "windows-1252", "windows-1250", "windows-1251", "koi8-r", "iso-8859-7", "windows-1255", "windows-1256",
		"gb18030", "big5", "euc-kr", "euc-jp", "shift_jis"} {
		if text, ok := convert(s, name); ok && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

var shifted = regexp.MustCompile(`\+([A-Za-z0-9+/]*)-?`)

// fromUTF7 decodes UTF-7 (RFC 2152); invalid parts stay unchanged.
func fromUTF7(s string) string {
	return shifted.ReplaceAllStringFunc(s, func(run string) string {
		if run == "+-" {
			return "+"
		}
		raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(run[1:], "-"))
		if err != nil || len(raw) < 2 {
			return run
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		return string(utf16.Decode(units))
	})
}
