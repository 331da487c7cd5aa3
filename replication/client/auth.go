package client

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xdg-go/scram"
)

// mechanism answers challenges; the first call makes the initial response.
type mechanism func(challenge string) (response string, err error)

func (c *Client) authenticate(o Options) error {
	name, err := c.chooseMech(strings.ToUpper(o.Mech))
	if err != nil {
		return err
	}
	step, finish, err := newMech(name, o)
	if err != nil {
		return err
	}
	first, err := step("")
	if err != nil {
		return fmt.Errorf("AUTHENTICATE %s: %w", name, err)
	}
	what := "AUTHENTICATE " + name
	line := what + " " + base64.StdEncoding.EncodeToString([]byte(first))
	for {
		if _, err := c.w.WriteString(line + "\r\n"); err != nil {
			return err
		}
		if err := c.flush(); err != nil {
			return err
		}
		reply, err := c.restOfLine()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		status, text, _ := strings.Cut(reply, " ")
		switch strings.ToUpper(status) {
		case "OK":
			return finish()
		case "NO", "BAD", "BYE":
			return refusal(what, strings.ToUpper(status), text)
		case "+":
		default:
			return fmt.Errorf("%s: unexpected %.80q", what, reply)
		}
		challenge, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("%s: challenge: %w", what, err)
		}
		response, err := step(string(challenge))
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		line = base64.StdEncoding.EncodeToString([]byte(response))
	}
}

func (c *Client) chooseMech(want string) (string, error) {
	for _, m := range []string{"SCRAM-SHA-256", "PLAIN"} {
		if (want == "" || want == m) && slices.Contains(c.banner.Mechs, m) {
			return m, nil
		}
	}
	return "", fmt.Errorf("no usable SASL mechanism: server offers %q", c.banner.Mechs)
}

// newMech returns the steps of a mechanism and a check to run after OK.
func newMech(name string, o Options) (mechanism, func() error, error) {
	if name == "PLAIN" {
		// The authorisation id is empty, as in sync_client.
		step := func(challenge string) (string, error) {
			if challenge != "" {
				return "", errors.New("unexpected challenge")
			}
			return "\x00" + o.User + "\x00" + string(o.Password), nil
		}
		return step, func() error { return nil }, nil
	}
	cl, err := scram.SHA256.NewClient(o.User, string(o.Password), "")
	if err != nil {
		return nil, nil, err
	}
	conv := cl.NewConversation()
	// The server's signature is one more challenge, because an OK line carries no data
	// (imap/saslserver.c). An OK without it proves nothing.
	return conv.Step, func() error {
		if !conv.Valid() {
			return errors.New("AUTHENTICATE: server did not prove that it knows the password")
		}
		return nil
	}, nil
}
