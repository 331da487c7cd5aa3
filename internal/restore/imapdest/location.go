package imapdest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
)

// Location is imap://USER@HOST[:PORT]/[FOLDER][?tls=no][&authuser=ADMIN], or imaps://.
type Location struct {
	User     string // owner of the mail
	AuthUser string // login name; "" = User
	Addr     string // host:port
	Folder   string // parent of all folders; "" = top level
	TLS      bool   // TLS from the first byte
	Plain    bool   // no TLS
}

// ParseLocation parses a location. It refuses passwords, because other users could see them.
func ParseLocation(s string) (*Location, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "imap" && u.Scheme != "imaps" || u.Hostname() == "" || u.User.Username() == "" {
		return nil, fmt.Errorf("%q: write imap://USER@HOST/ or imaps://USER@HOST:PORT/FOLDER", s)
	}
	if _, set := u.User.Password(); set {
		return nil, errors.New("a password on the command line is visible to others: use --password-file or RESTORE_IMAP_PASSWORD in the environment")
	}
	l := &Location{User: u.User.Username(), Folder: strings.Trim(u.Path, "/"), TLS: u.Scheme == "imaps"}
	port := u.Port()
	switch {
	case port != "":
	case l.TLS:
		port = "993"
	default:
		port = "143"
	}
	l.Addr = net.JoinHostPort(u.Hostname(), port)
	for key, v := range u.Query() {
		switch {
		case key == "tls" && v[0] == "no" && !l.TLS:
			l.Plain = true
		case key == "authuser":
			l.AuthUser = v[0]
		default:
			return nil, fmt.Errorf("%q: unknown parameter ?%s=%s: use tls=no (with imap://) or authuser=NAME", s, key, v[0])
		}
	}
	return l, nil
}

// account identifies the account that owns the mail.
func (l *Location) account() string { return l.User + "@" + l.Addr }

func (l *Location) connect(password string, t *tls.Config) (*imapclient.Client, error) {
	o := &imapclient.Options{TLSConfig: t}
	dial := imapclient.DialStartTLS
	switch {
	case l.TLS:
		dial = imapclient.DialTLS
	case l.Plain:
		dial = imapclient.DialInsecure
	}
	c, err := dial(l.Addr, o)
	if err != nil {
		return nil, fmt.Errorf("cannot restore to %s: %w", l.Addr, err)
	}
	if l.AuthUser != "" {
		err = c.Authenticate(sasl.NewPlainClient(l.User, l.AuthUser, password))
	} else {
		err = c.Login(l.User, password).Wait()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: login: %w", l.Addr, err), c.Close())
	}
	return c, nil
}
