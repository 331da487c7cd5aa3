package sasl

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"time"
)

// Saslauthd asks saslauthd(8) over its socket. The request is four counted strings (a
// 16-bit length in network order, then the bytes): user, password, service and realm. The
// reply is one counted string that begins with OK or NO (cyrus-sasl, lib/checkpw.c:
// saslauthd_verify_password).
type Saslauthd struct {
	// Path of the socket.
	Path string
	// Service is the name that saslauthd -a pam looks up in pam.d. "": csync, as in Cyrus.
	Service string
	// Timeout limits one question. 0: 30 s. PAM delays the answer to a wrong password by
	// some seconds.
	Timeout time.Duration
}

// maxAnswer is the size of libsasl's buffer for the answer.
const maxAnswer = 1024

// CheckPassword asks about user, whose realm follows the last @. Any answer except OK means
// no. Only a failed dialogue is an error.
func (s *Saslauthd) CheckPassword(ctx context.Context, user, password string) (bool, error) {
	service, timeout := s.Service, s.Timeout
	if service == "" {
		service = "csync"
	}
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	realm := ""
	if at := strings.LastIndexByte(user, '@'); at >= 0 {
		user, realm = user[:at], user[at+1:]
	}
	question, err := counted(user, password, service, realm)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := s.ask(ctx, question)
	if err != nil {
		return false, fmt.Errorf("ask saslauthd at %s: %w", s.Path, err)
	}
	return strings.HasPrefix(answer, "OK"), nil
}

func (s *Saslauthd) ask(ctx context.Context, question []byte) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", s.Path)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer, err := exchange(conn, question)
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("no answer: %w", ctx.Err())
	}
	return answer, err
}

func exchange(conn io.ReadWriter, question []byte) (string, error) {
	if _, err := conn.Write(question); err != nil {
		return "", err
	}
	var size uint16
	if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	if size < 2 || size > maxAnswer {
		return "", fmt.Errorf("answer has %d bytes", size)
	}
	answer := make([]byte, size)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	return string(answer), nil
}

// counted writes the strings in saslauthd's format. Errors must not contain the strings,
// because the password is among them.
func counted(parts ...string) ([]byte, error) {
	var b []byte
	for _, p := range parts {
		if len(p) > math.MaxUint16 {
			return nil, fmt.Errorf("name or password has %d bytes", len(p))
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	return b, nil
}
