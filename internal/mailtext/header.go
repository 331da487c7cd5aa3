package mailtext

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"strings"
)

const (
	mostHeader = 1 << 20 // bytes; the rest is the body, or an attack
)

// Header has the raw, unfolded field values of a message, by field name in lower case.
type Header map[string][]string

// ReadHeader reads the header of a message up to the empty line.
func ReadHeader(r *bufio.Reader) (Header, error) {
	h := Header{}
	name, value := "", ""
	add := func() {
		if name != "" {
			h[name] = append(h[name], strings.TrimSpace(value))
		}
		name, value = "", ""
	}
	for n := 0; n < mostHeader; {
		line, err := readLine(r, mostHeader-n)
		if err != nil && !errors.Is(err, io.EOF) {
			return h, err
		}
		n += len(line)
		line = strings.TrimRight(line, "\r\n")
		folded := line != "" && (line[0] == ' ' || line[0] == '\t')
		switch field, rest, ok := strings.Cut(line, ":"); {
		case line == "":
			add()
			return h, nil
		case folded:
			value += line
		case ok:
			add()
			name, value = strings.ToLower(strings.TrimRight(field, " \t")), rest
		default: // not a field
			add()
		}
		if err != nil {
			break
		}
	}
	add()
	return h, nil
}

// readLine reads a line, up to a limit.
func readLine(r *bufio.Reader, most int) (string, error) {
	var b []byte
	for {
		part, err := r.ReadSlice('\n')
		b = append(b, part...)
		if !errors.Is(err, bufio.ErrBufferFull) || len(b) >= most {
			if errors.Is(err, bufio.ErrBufferFull) {
				err = nil
			}
			return string(b), err
		}
	}
}

// Charset returns the charset of the message's text; "" = none.
func (h Header) Charset() string {
	for _, v := range h["content-type"] {
		if _, params, err := mime.ParseMediaType(v); err == nil {
			return params["charset"]
		}
	}
	return ""
}

// Text returns a field's first value, decoded.
func (h Header) Text(name string) string {
	values := h[name]
	if len(values) == 0 {
		return ""
	}
	if isAddresses(name) {
		return Addresses(values[0], h.Charset())
	}
	return Decode(values[0], h.Charset())
}

func isAddresses(name string) bool {
	switch name {
	case "from", "to", "cc", "bcc", "sender", "reply-to":
		return true
	}
	return false
}
