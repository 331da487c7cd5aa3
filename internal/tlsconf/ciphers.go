package tlsconf

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// parseCiphers converts OpenSSL's cipher list (ciphers(1)) to Go's suites for TLS up to 1.2. nil
// means Go's default. A word without a match in Go is worth a warning if it selects, but not if it
// excludes ciphers.
func parseCiphers(list string) (suites []uint16, warnings []string) {
	all := opensslNames()
	words := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(": ,;", r) })
	if len(words) == 0 || slices.Equal(words, []string{"DEFAULT"}) {
		return nil, nil
	}
	var chosen, killed []uint16
	for _, word := range words {
		op, rest := byte(0), word
		if strings.IndexByte("!-+@", word[0]) >= 0 {
			op, rest = word[0], word[1:]
		}
		if op == '+' || op == '@' { // order and security level, which Go determines
			continue
		}
		var matched []uint16
		for _, s := range all {
			if s.matches(rest) && (op != 0 || !s.insecure || s.name == rest) {
				matched = append(matched, s.id)
			}
		}
		switch {
		case op == '!':
			killed = append(killed, matched...)
		case op == '-':
			chosen = slices.DeleteFunc(chosen, func(id uint16) bool { return slices.Contains(matched, id) })
		case len(matched) == 0 && !strings.HasPrefix(rest, "TLS_"): // TLS_: TLS 1.3
			warnings = append(warnings, fmt.Sprintf("unknown cipher %q", word))
		default:
			chosen = append(chosen, matched...)
		}
	}
	chosen = slices.DeleteFunc(chosen, func(id uint16) bool { return slices.Contains(killed, id) })
	if len(chosen) == 0 {
		return nil, append(warnings, "no cipher is left; using the default")
	}
	slices.Sort(chosen)
	return slices.Compact(chosen), warnings
}

// suite is one of Go's cipher suites with its OpenSSL name.
type suite struct {
	id       uint16
	name     string
	insecure bool
}

func opensslNames() []suite {
	var all []suite
	for _, s := range tls.CipherSuites() {
		if s.SupportedVersions[0] < tls.VersionTLS13 {
			all = append(all, suite{s.ID, opensslName(s.Name), false})
		}
	}
	for _, s := range tls.InsecureCipherSuites() {
		all = append(all, suite{s.ID, opensslName(s.Name), true})
	}
	return all
}

// opensslName converts TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 to ECDHE-RSA-AES128-GCM-SHA256.
func opensslName(name string) string {
	exchange, cipher, _ := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if exchange == "RSA" {
		exchange = ""
	} else {
		exchange += "_"
	}
	return strings.NewReplacer(
		"3DES_EDE_CBC", "DES-CBC3",
		"POLY1305_SHA256", "POLY1305",
		"RC4_128", "RC4",
		"AES_", "AES",
		"CBC_", "",
		"_", "-",
	).Replace(exchange + cipher)
}

// matches reports whether the suite has all keywords of a+b+c.
func (s suite) matches(word string) bool {
	if word == s.name {
		return true
	}
	for part := range strings.SplitSeq(word, "+") {
		if !s.has(part) {
			return false
		}
	}
	return true
}

func (s suite) has(keyword string) bool {
	ecdhe := strings.HasPrefix(s.name, "ECDHE-")
	switch keyword {
	case "DEFAULT", "ALL", "COMPLEMENTOFDEFAULT":
		return true
	case "HIGH":
		return !strings.Contains(s.name, "DES-") && !strings.Contains(s.name, "RC4")
	case "ECDHE", "EECDH", "kECDHE", "kEECDH":
		return ecdhe
	case "kRSA", "RSA":
		return !ecdhe
	case "aRSA":
		return !strings.Contains(s.name, "ECDSA")
	case "ECDSA", "aECDSA":
		return strings.Contains(s.name, "ECDSA")
	case "AESGCM":
		return strings.Contains(s.name, "GCM")
	case "AES", "AES128", "AES256", "CHACHA20", "RC4":
		return strings.Contains(s.name, keyword)
	case "3DES":
		return strings.Contains(s.name, "CBC3")
	case "SHA256", "SHA384":
		return strings.HasSuffix(s.name, keyword)
	case "SHA1", "SHA":
		return strings.HasSuffix(s.name, "-SHA")
	default:
		return false
	}
}
