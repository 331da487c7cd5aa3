package syslog

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// Options configures the log. The zero value logs to facility 0 (kern) without an ident; see
// FromConfig.
type Options struct {
	Ident    string        // text before [pid]
	Facility Facility      // see ParseFacility
	Level    slog.Leveler  // minimum level; nil: slog.LevelInfo
	Path     string        // the log daemon's socket; "": /dev/log
	Fallback io.Writer     // gets the messages if there is no daemon; nil: os.Stderr
	Timeout  time.Duration // how long one message may wait for a full socket; 0: 100 ms
}

// LevelNotice is LOG_NOTICE: normal but significant, like logins in Cyrus.
const LevelNotice = slog.Level(2)

// Facility is a syslog facility, shifted as in a priority (RFC 5424 section 6.2.1).
type Facility int

// Mail is the default facility, as in Debian's Cyrus.
const Mail Facility = 2 << 3

// ParseFacility parses the names that Cyrus supports (imap/global.c: get_facility), in any case.
func ParseFacility(name string) (Facility, error) {
	numbers := map[string]Facility{"USER": 1, "MAIL": 2, "DAEMON": 3, "NEWS": 7}
	for i := range 8 {
		numbers[fmt.Sprintf("LOCAL%d", i)] = Facility(16 + i)
	}
	n, ok := numbers[strings.ToUpper(name)]
	if !ok {
		return 0, fmt.Errorf("%q is not a facility; allowed: DAEMON, MAIL, NEWS, USER, LOCAL0 to LOCAL7", name)
	}
	return n << 3, nil
}

// Ident returns prefix/service, or service if there is no prefix.
func Ident(prefix, service string) string {
	if prefix == "" {
		return service
	}
	return prefix + "/" + service
}

// Early returns the options before the configuration is read. envPrefix is CYRUS_SYSLOG_PREFIX.
func Early(service, envPrefix string) Options {
	return Options{Ident: Ident(envPrefix, service), Facility: Mail}
}

// FromConfig uses the options syslog_prefix, syslog_facility and debug. envPrefix, the value of
// CYRUS_SYSLOG_PREFIX, overrides the configured prefix.
func FromConfig(conf *imapconf.File, service, envPrefix string) (Options, error) {
	prefix := envPrefix
	if prefix == "" {
		prefix = conf.String("syslog_prefix")
	}
	opt := Options{Ident: Ident(prefix, service), Facility: Mail, Level: slog.LevelInfo}
	if conf.Switch("debug") {
		opt.Level = slog.LevelDebug
	}
	if name := conf.String("syslog_facility"); name != "" {
		var err error
		if opt.Facility, err = ParseFacility(name); err != nil {
			return Options{}, conf.Errorf("syslog_facility", "%w", err)
		}
	}
	return opt, nil
}

// severity converts a level to a syslog severity.
func severity(l slog.Level) int {
	switch {
	case l < slog.LevelInfo:
		return 7 // debug
	case l < LevelNotice:
		return 6 // info
	case l < slog.LevelWarn:
		return 5 // notice
	case l < slog.LevelError:
		return 4 // warning
	case l < slog.LevelError+4:
		return 3 // err
	default:
		return 2 // crit
	}
}
