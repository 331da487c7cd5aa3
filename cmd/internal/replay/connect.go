package replay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/replication/client"
)

// connection holds the options of the connection to the server.
type connection struct {
	server       string
	program      []string  // --exec
	stderr       io.Writer // of program
	auth         string
	passwordFile string
	mech         string
	compress     bool
	tls          bool
	startTLS     bool
	caFile       string
	insecure     bool
}

const passwordEnv = "BACKUP_REPLAY_PASSWORD"

func (c *connection) options() (client.Options, error) {
	o := client.Options{User: c.auth, Mech: c.mech, Compress: c.compress, StartTLS: c.startTLS}
	if c.auth != "" {
		password, err := c.password()
		if err != nil {
			return o, err
		}
		o.Password = password
	}
	if c.tls || c.startTLS {
		o.TLS = &tls.Config{InsecureSkipVerify: c.insecure}
		if c.caFile != "" {
			pem, err := os.ReadFile(c.caFile)
			if err != nil {
				return o, err
			}
			o.TLS.RootCAs = x509.NewCertPool()
			if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
				return o, fmt.Errorf("%s: no certificate found", c.caFile)
			}
		}
	}
	return o, nil
}

func (c *connection) password() (client.Secret, error) {
	if c.passwordFile == "" {
		p, ok := os.LookupEnv(passwordEnv)
		if !ok {
			return "", errors.New("--auth needs --password-file or " + passwordEnv)
		}
		return client.Secret(p), nil
	}
	b, err := os.ReadFile(c.passwordFile)
	return client.Secret(strings.TrimRight(string(b), "\r\n")), err
}

// name returns the server's name for the summary.
func (c *connection) name() string {
	if len(c.program) > 0 {
		return strings.Join(c.program, " ")
	}
	return c.server
}

func (c *connection) dial(ctx context.Context, o client.Options, observe func(string, time.Duration, time.Duration)) (*client.Client, error) {
	o.Observe = observe
	if len(c.program) == 0 {
		return client.Dial(ctx, c.server, o)
	}
	p, err := startProgram(c.program, c.stderr)
	if err != nil {
		return nil, err
	}
	return client.New(ctx, p, o)
}

// program is a server that speaks on its standard input and output.
type program struct {
	cmd *exec.Cmd
	io.Reader
	in io.WriteCloser
}

func startProgram(args []string, stderr io.Writer) (*program, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &program{cmd: cmd, Reader: out, in: in}, nil
}

func (p *program) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close closes the program's standard input and waits until the program ends.
func (p *program) Close() error {
	return errors.Join(p.in.Close(), p.cmd.Wait())
}
