package replication

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/replication/sasl"
)

// Options configure a Server. Backend and Authenticator are required. The meaning of the
// zero value of every other field is stated beside it. The functions are called from many
// goroutines.
type Options struct {
	ServerName string // in the banner; "localhost"
	Version    string // in the banner, after "Cyrus backup server"; "unknown"

	// SyncTimeout limits one read: how long the client may be silent. The minimum is 3 s
	// (backup/backupd.c, service_main). 0 = 30 minutes.
	SyncTimeout time.Duration
	// WriteTimeout limits one write to the network. 0 = SyncTimeout.
	WriteTimeout time.Duration
	// LoginTimeout limits the time from the start of a connection to its login, including
	// TLS and failed attempts. The client itself waits 10 s (client_timeout). 0 = one
	// minute.
	LoginTimeout time.Duration
	// FailedLoginPause delays the answer to a failed login, longer for each one from the same network
	// within a minute. 0 = no delay.
	FailedLoginPause time.Duration
	// StopGrace is how long a command may still run after the context of ServeConn ends.
	// Then its own context ends and the connection is closed. 0 = 30 s.
	StopGrace time.Duration

	// TLS returns the configuration for STARTTLS and for implicit TLS. nil, or a nil
	// result, disables TLS. It is called for each connection, so that certificates can
	// change.
	TLS func() *tls.Config
	// NoStartTLS restricts TLS to listeners with implicit TLS.
	NoStartTLS bool
	// Authenticator returns the object that checks logins and knows the admins. It is
	// called for each login, so that the policy can change. The peer of a UNIX socket needs
	// no login. Required.
	Authenticator func() *sasl.Authenticator
	// OfferCompress reports whether to offer COMPRESS to a client at addr. nil = always.
	OfferCompress func(addr net.Addr) bool

	// Limits limits each command; Loans is ignored.
	Limits        dlist.Limits
	CommandMemory *CommandMemory // nil = 36 MiB for this Server
	// Patience is how long a client whose command takes shared memory may be silent. 0 = 30 s.
	Patience  time.Duration
	Telemetry Telemetry
	// SessionPrefix begins session ids (option syslog_prefix). "" = ServerName.
	SessionPrefix string

	// ShutdownMessage returns the first line of Cyrus's shutdown file if the file exists
	// (imap/global.c, shutdown_file). It is called at connect and before each command. nil
	// = no such file.
	ShutdownMessage func() (string, bool)
	// OnState is called when a connection begins, logs in, or ends. nil = no calls.
	OnState func(ConnState)
	// OnLogin is called after an attempt to log in, from many goroutines. nil = no calls.
	OnLogin func(Login)
	Events  Events // for metrics

	Logger *slog.Logger // nil = nothing is logged
	Clock  Clock        // nil = the system's. Network timeouts do not use it.

	Backend Backend // Required.
}

// Telemetry configures copies of the dialogue (imap/telemetry.c). A connection is copied if
// the directory Dir/USER exists.
type Telemetry struct {
	Dir         string      // {configdirectory}/log; "" = no telemetry
	Umask       fs.FileMode // option umask; cleared from 0644
	BySessionID bool        // files are named SERVICE-SESSIONID, not SERVICE-PID
}

// ConnState describes a connection, for the process registry.
type ConnState struct {
	ID      string // session id
	Service string
	Addr    string // see Peer.Addr
	User    string // "" before login
	Ended   bool
}

func (o *Options) validate() error {
	var errs []error
	if o.Backend == nil {
		errs = append(errs, errors.New("replication: Options.Backend is missing"))
	}
	if o.Authenticator == nil {
		errs = append(errs, errors.New("replication: Options.Authenticator is missing"))
	}
	return errors.Join(errs...)
}

// minSyncTimeout is Cyrus's minimum for sync_timeout.
const minSyncTimeout = 3 * time.Second

func (o Options) withDefaults() Options {
	if o.ServerName == "" {
		o.ServerName = "localhost"
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	if o.SyncTimeout == 0 {
		o.SyncTimeout = 30 * time.Minute
	}
	o.SyncTimeout = max(o.SyncTimeout, minSyncTimeout)
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = o.SyncTimeout
	}
	if o.LoginTimeout <= 0 {
		o.LoginTimeout = time.Minute
	}
	if o.CommandMemory == nil {
		o.CommandMemory = NewCommandMemory(36 << 20)
	}
	if o.Patience <= 0 {
		o.Patience = 30 * time.Second
	}
	if o.StopGrace <= 0 {
		o.StopGrace = 30 * time.Second
	}
	if o.SessionPrefix == "" {
		o.SessionPrefix = o.ServerName
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	return o
}

func (o *Options) tlsConfig() *tls.Config {
	if o.TLS == nil {
		return nil
	}
	return o.TLS()
}
