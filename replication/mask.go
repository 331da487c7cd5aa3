package replication

// mask hides the credentials of an AUTHENTICATE that a client sends after its login. The server
// refuses it, but credentials must not be written to a file. A chunk can begin and end anywhere in
// a command. A line of a message that looks like the command is hidden, too.
type mask struct {
	state   maskState
	matched int  // bytes of the verb at the start of this line
	last    byte // of a hidden line
}

type maskState int

const (
	maskVerb      maskState = iota // at the start of a line, or within the verb
	maskNone                       // in a line that is not hidden
	maskMechanism                  // behind the verb
	maskSecret                     // behind the mechanism, or in a line that may be a response
)

const (
	maskedVerb = "AUTHENTICATE "
	masked     = "********"
)

// hide returns what to write for the next chunk.
func (m *mask) hide(p []byte) []byte {
	out := make([]byte, 0, len(p)+len(masked))
	for _, b := range p {
		was := m.state
		m.next(b)
		if was != maskSecret || b == '\n' || b == '\r' {
			out = append(out, b)
		}
		if m.state == maskSecret && (was != maskSecret || b == '\n') {
			out = append(out, masked...)
		}
	}
	return out
}

// next takes a byte to the state after it.
func (m *mask) next(b byte) {
	if b == '\n' {
		m.endOfLine()
		return
	}
	switch m.state {
	case maskVerb:
		m.verb(b)
	case maskMechanism:
		if b == ' ' {
			m.state, m.last = maskSecret, 0
		}
	case maskSecret:
		if b != '\r' {
			m.last = b
		}
	case maskNone:
	}
}

func (m *mask) verb(b byte) {
	switch {
	case m.matched == 0 && b == ' ':
	case b&^0x20 != maskedVerb[m.matched]&^0x20:
		m.state = maskNone
	default:
		if m.matched++; m.matched == len(maskedVerb) {
			m.state = maskMechanism
		}
	}
}

// endOfLine hides the next line as well if it may be a response: after a command without one, or
// with the size of a literal. A client has no reason to send it before the server's answer.
func (m *mask) endOfLine() {
	response := m.state == maskMechanism || m.state == maskSecret && m.last == '}'
	m.state, m.matched, m.last = maskVerb, 0, 0
	if response {
		m.state = maskSecret
	}
}
