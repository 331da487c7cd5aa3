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

// Options says how to serve. Backend and Authenticator are required; every
// other field has a zero value that is said beside it. The functions are called
// from many goroutines.
type Options struct {
	ServerName string // in the banner; "localhost"
	Version    string // in the banner, behind "Cyrus backup server"; "unknown"

	// SyncTimeout limits one read: for so long the client may be silent. At
	// least 3 s are given (backup/backupd.c, service_main). 0 = 30 minutes.
	SyncTimeout time.Duration
	// WriteTimeout limits one write to the network. 0 = SyncTimeout.
	WriteTimeout time.Duration
	// LoginTimeout is how long after its begin a connection may take to log in, TLS and
	// failed tries included. The client itself waits 10 s (client_timeout). 0 = one minute.
	LoginTimeout time.Duration
	// FailedLoginPause is how long the answer to a failed login is held back. 0 = not at all.
	FailedLoginPause time.Duration
	// StopGrace is how long a command may still run after the context of
	// ServeConn has ended; then its own context ends and the connection is closed. 0 = 30 s.
	StopGrace time.Duration

	// TLS returns the configuration for STARTTLS and for listeners that begin
	// with TLS; nil, or a nil result, means that there is no TLS. It is asked
	// anew for each connection, so that certificates can be changed.
	TLS func() *tls.Config
	// NoStartTLS keeps TLS for listeners that begin with it.
	NoStartTLS bool
	// Authenticator returns what checks logins and says who is an admin. It is
	// asked anew for each login, so that the policy can be changed. The peer of a
	// UNIX socket is not asked to log in. Required.
	Authenticator func() *sasl.Authenticator
	// OfferCompress says whether a client at addr is offered COMPRESS. nil = always.
	OfferCompress func(addr net.Addr) bool

	Limits    dlist.Limits // of what is held in memory; see there
	Telemetry Telemetry
	// SessionPrefix begins session ids (option syslog_prefix). "" = ServerName.
	SessionPrefix string

	// ShutdownMessage returns the first line of Cyrus's shutdown file if it
	// exists (imap/global.c, shutdown_file). It is asked at connect and before
	// each command. nil = there is none.
	ShutdownMessage func() (string, bool)
	// OnState hears of each connection: begun, logged in, ended. nil = nobody does.
	OnState func(ConnState)

	Logger *slog.Logger // nil = nothing is logged
	Clock  Clock        // nil = the system's. Time limits of the network are not taken from it.

	Backend Backend // Required.
}

// Telemetry says where copies of the dialogue go (imap/telemetry.c). A
// connection is copied if the directory Dir/USER exists.
type Telemetry struct {
	Dir         string      // {configdirectory}/log; "" = no telemetry
	Umask       fs.FileMode // option umask; taken off 0644
	BySessionID bool        // files are named SERVICE-SESSIONID, not SERVICE-PID
}

// ConnState is what is known of a connection, for the process registry.
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

// minSyncTimeout is the least that Cyrus takes for sync_timeout.
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
