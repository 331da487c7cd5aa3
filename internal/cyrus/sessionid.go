package cyrus

import "regexp"

// sessionID is the format of Cyrus's session ids (imap/global.c, session_new_id): a prefix,
// which is usually the name of the server, the epoch second, the process id, a number, and
// 64 random bits.
var sessionID = regexp.MustCompile(`^.*-(\d+-\d+-\d+)-\d+$`)

// ShortSessionID returns the part of a session id that people compare: the time, the process and
// the number, which identify the session on its host. It returns any other text unchanged.
func ShortSessionID(id string) string {
	if m := sessionID.FindStringSubmatch(id); m != nil {
		return m[1]
	}
	return id
}
