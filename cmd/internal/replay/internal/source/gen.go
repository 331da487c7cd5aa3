package source

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Gen describes generated mail. The same numbers give the same messages.
type Gen struct {
	Count int
	Size  int // approximate size of a message in bytes; never smaller than its header
	Seed  uint64
}

// errGen reports a wrong gen: source.
var errGen = errors.New("want gen:COUNT:SIZE[:SEED]")

// ParseGen reads gen:COUNT:SIZE[:SEED]. SIZE may end in k or M (1024, 1024²).
func ParseGen(spec string) (g Gen, err error) {
	parts := strings.Split(strings.TrimPrefix(spec, "gen:"), ":")
	if len(parts) < 2 || len(parts) > 3 {
		return g, errGen
	}
	if g.Count, err = strconv.Atoi(parts[0]); err != nil || g.Count < 0 || g.Count >= 1<<32-1 {
		return g, errGen
	}
	unit := 1
	if s, ok := strings.CutSuffix(parts[1], "k"); ok {
		parts[1], unit = s, 1<<10
	} else if s, ok := strings.CutSuffix(parts[1], "M"); ok {
		parts[1], unit = s, 1<<20
	}
	if g.Size, err = strconv.Atoi(parts[1]); err != nil || g.Size < 0 || g.Size > 1<<30/unit {
		return g, errGen
	}
	g.Size *= unit
	if len(parts) == 3 {
		if g.Seed, err = strconv.ParseUint(parts[2], 10, 64); err != nil {
			return g, errGen
		}
	}
	return g, nil
}

// Folder makes the messages.
func (g Gen) Folder() Folder {
	text := filler(g.Seed)
	f := Folder{
		Messages: make([]Message, g.Count),
		Open:     func(i int) (io.ReadCloser, error) { return io.NopCloser(g.body(text, i)), nil },
	}
	h := sha1.New()
	for i := range f.Messages {
		h.Reset()
		// A hash does not fail, and neither does a reader of memory.
		n, _ := io.Copy(h, g.body(text, i))
		m := Message{Size: uint32(n), Date: fallbackDate + int64(i)}
		m.GUID = cyrus.GUID(h.Sum(nil))
		if i%3 != 0 {
			m.Flags = []string{`\Seen`}
		}
		f.Messages[i] = m
	}
	return f
}

// body returns a header and lines of words. No two lines are equal, because a server would
// save more by deduplication than with real mail.
func (g Gen) body(text []byte, i int) io.Reader {
	date := time.Unix(fallbackDate+int64(i), 0).UTC().Format(time.RFC1123Z)
	head := fmt.Appendf(nil, "From: gen-%d@example.org\r\nTo: you@example.com\r\nDate: %s\r\nMessage-ID: <%d.%d@gen.example>\r\nSubject: generated %d\r\n\r\n",
		i%97, date, g.Seed, i, i)
	rest := max(g.Size-len(head), 0)
	state := (g.Seed*1e9+uint64(i))*0x9E3779B97F4A7C15 + 1
	return io.MultiReader(bytes.NewReader(head), &lines{text: text, state: state, rest: rest})
}

// lineLen is the length of a generated line, its line end included.
const lineLen = 78

// lines yields rest bytes of lines.
type lines struct {
	text  []byte
	state uint64 // xorshift
	rest  int
	line  [lineLen]byte
	out   []byte
}

func (l *lines) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(l.out) == 0 {
			if l.rest == 0 {
				if n == 0 {
					err = io.EOF
				}
				return n, err
			}
			l.next()
		}
		k := copy(p[n:], l.out)
		l.out = l.out[k:]
		n += k
	}
	return n, nil
}

// next makes a line: ten unique letters, then words.
func (l *lines) next() {
	l.state ^= l.state << 13
	l.state ^= l.state >> 7
	l.state ^= l.state << 17
	b := l.line[:]
	for i, v := 0, l.state; i < 10; i, v = i+1, v/26 {
		b[i] = 'a' + byte(v%26)
	}
	b[10] = ' '
	copy(b[11:lineLen-2], l.text[l.state%uint64(len(l.text)-lineLen):])
	b[lineLen-2], b[lineLen-1] = '\r', '\n'
	n := min(l.rest, lineLen)
	l.out = b[lineLen-n:] // a shortened line keeps its line end
	l.rest -= n
}

// filler returns 1 MiB of words that compress about as well as mail.
func filler(seed uint64) []byte {
	const size, alphabet = 1 << 20, "etaoinshrdlucmfwypvbgkjqxz"
	rnd := rand.New(rand.NewPCG(seed, 0x6d61696c))
	b := make([]byte, 0, size+16)
	for len(b) < size {
		for range 1 + rnd.IntN(9) {
			b = append(b, alphabet[rnd.IntN(1+rnd.IntN(len(alphabet)))])
		}
		b = append(b, ' ')
	}
	return b
}
