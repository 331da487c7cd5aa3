package timespec

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// zone is the location of a clock.
type zone struct {
	location     *time.Location
	abbreviation string // "CET" if given as such: valid only in a part of the year
}

// name returns the name of the zone for a note.
func (z zone) name() string {
	if z.location == time.Local {
		return "this host"
	}
	return z.location.String()
}

// abbreviations lists abbreviations that only one clock uses, each with a location.
func abbreviations() map[string]string {
	return map[string]string{
		"CET": "Europe/Berlin", "CEST": "Europe/Berlin", "EET": "Europe/Helsinki", "EEST": "Europe/Helsinki",
		"WET": "Europe/Lisbon", "WEST": "Europe/Lisbon", "MSK": "Europe/Moscow",
		"EST": "America/New_York", "EDT": "America/New_York", "MDT": "America/Denver", "PDT": "America/Los_Angeles",
		"AKST": "America/Anchorage", "AKDT": "America/Anchorage", "HST": "Pacific/Honolulu",
		"JST": "Asia/Tokyo", "KST": "Asia/Seoul", "AEST": "Australia/Sydney", "AEDT": "Australia/Sydney",
		"AWST": "Australia/Perth", "NZST": "Pacific/Auckland", "NZDT": "Pacific/Auckland", "SAST": "Africa/Johannesburg",
	}
}

// shared lists abbreviations that several clocks use.
func shared() map[string][]string {
	return map[string][]string{
		"IST": {"Asia/Kolkata", "Asia/Jerusalem", "Europe/Dublin"},
		"BST": {"Europe/London", "Asia/Dhaka"},
		"CST": {"America/Chicago", "Asia/Shanghai", "America/Havana"},
		"CDT": {"America/Chicago", "America/Havana"},
		"PST": {"America/Los_Angeles", "Asia/Manila"},
		"MST": {"America/Denver", "Asia/Kuala_Lumpur"},
		"AST": {"America/Halifax", "Asia/Riyadh"},
		"ADT": {"America/Halifax", "Asia/Baghdad"},
		"GST": {"Asia/Dubai", "Atlantic/South_Georgia"},
		"SST": {"Pacific/Pago_Pago", "Asia/Singapore"},
		"WST": {"Pacific/Apia", "Australia/Perth"},
		"ECT": {"America/Guayaquil", "Europe/Paris"},
		"ACT": {"Australia/Darwin", "America/Rio_Branco"},
		"AMT": {"America/Manaus", "Asia/Yerevan"},
	}
}

var (
	offsetWord     = regexp.MustCompile(`^([+-])(\d\d):?(\d\d)?$`)
	attachedOffset = regexp.MustCompile(`(:\d\d|[ap]m)(z|[+-]\d\d:?\d\d)$`)
	zoneWord       = regexp.MustCompile(`^[a-z]{2,5}$|^[a-z_]+(/[a-z_+-]+\d*){1,2}$`)
)

// cutZone removes a zone from the end of a text in lower case. The default is the host's zone.
func cutZone(s string, host *time.Location) (rest string, z zone, err error) {
	s = attachedOffset.ReplaceAllString(s, "$1 $2")
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return s, zone{location: host}, nil
	}
	word := s[i+1:]
	if l, ok := fixed(word); ok {
		return s[:i], zone{location: l}, nil
	}
	if !zoneWord.MatchString(word) {
		return s, zone{location: host}, nil
	}
	if strings.Contains(word, "/") {
		l, err := place(word)
		return s[:i], zone{location: l}, err
	}
	z, ok, err := abbreviated(strings.ToUpper(word), host)
	if err != nil || !ok {
		return s, zone{location: host}, err
	}
	return s[:i], z, nil
}

// fixed parses "+0100", "-05:30", "+02", "utc", "gmt" and "z".
func fixed(word string) (*time.Location, bool) {
	if word == "utc" || word == "gmt" || word == "z" {
		return time.UTC, true
	}
	m := offsetWord.FindStringSubmatch(word)
	if m == nil {
		return nil, false
	}
	t, err := time.Parse("-07:00", m[1]+m[2]+":"+(m[3] + "00")[:2])
	if err != nil {
		return nil, false
	}
	_, offset := t.Zone()
	return time.FixedZone(word, offset), true
}

// place finds a zone by its IANA name, in any case.
func place(word string) (*time.Location, error) {
	parts := strings.FieldsFunc(word, func(r rune) bool { return r == '/' || r == '_' || r == '-' })
	name := word
	for _, p := range parts {
		if p == "of" || p == "es" || p == "au" { // Isle_of_Man, Dar_es_Salaam, Port-au-Prince
			continue
		}
		name = strings.Replace(name, p, strings.ToUpper(p[:1])+p[1:], 1)
	}
	if strings.HasPrefix(word, "etc/") {
		name = "Etc/" + strings.ToUpper(word[4:])
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown zone %q: write a name like Europe/Berlin, or an offset", word)
	}
	return l, nil
}

// abbreviated parses "CET". The abbreviations of the host's own zone mean that zone.
func abbreviated(word string, host *time.Location) (z zone, ok bool, err error) {
	summer, winter := time.Date(2026, 7, 1, 0, 0, 0, 0, host), time.Date(2026, 1, 1, 0, 0, 0, 0, host)
	for _, t := range []time.Time{summer, winter} {
		if name, _ := t.Zone(); name == word {
			return zone{host, word}, true, nil
		}
	}
	if list := shared()[word]; list != nil {
		return zone{}, false, errors.New("the zone " + word + " is ambiguous: write one of " + strings.Join(list, ", ") + ", or an offset")
	}
	name, ok := abbreviations()[word]
	if !ok {
		return zone{}, false, nil
	}
	l, err := time.LoadLocation(name)
	return zone{l, word}, err == nil, err
}
