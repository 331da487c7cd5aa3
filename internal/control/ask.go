package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// dialTime limits the wait for a connection, which a daemon in trouble may not accept.
const dialTime = 10 * time.Second

// Ask sends a request to the daemon and waits for the answer, as long as ctx. It returns
// ErrNoDaemon if no daemon runs.
func Ask(ctx context.Context, path string, r Request) (Reply, error) {
	return AskParts(ctx, path, r, 0, func(json.RawMessage) error { return errors.New("control socket: a part of an answer was not expected") })
}

// AskParts is Ask for an answer in parts. silence limits the wait for each part and for the end;
// 0 = no limit. An error of part ends the request.
func AskParts(ctx context.Context, path string, r Request, silence time.Duration, part func(json.RawMessage) error) (Reply, error) {
	c, err := dial(ctx, path)
	if err != nil {
		return Reply{}, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := c.SetWriteDeadline(time.Now().Add(dialTime)); err != nil {
		return Reply{}, err
	}
	if err := json.NewEncoder(c).Encode(r); err != nil {
		return Reply{}, fmt.Errorf("control socket: %w", err)
	}
	for d := json.NewDecoder(c); ; {
		var reply Reply
		err := limitSilence(c, silence)
		if err == nil {
			err = d.Decode(&reply)
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return Reply{}, ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			return Reply{}, fmt.Errorf("control socket: the daemon has sent nothing for %v", silence)
		case err != nil:
			return Reply{}, fmt.Errorf("control socket: the daemon ended without an answer: %w", err)
		case reply.Part == nil:
			return reply, nil
		}
		if err := part(reply.Part); err != nil {
			return Reply{}, err
		}
	}
}

func limitSilence(c net.Conn, silence time.Duration) error {
	if silence <= 0 {
		return nil
	}
	return c.SetReadDeadline(time.Now().Add(silence))
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTime}
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("%w (%s)", ErrNoDaemon, path)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return c, nil
}
