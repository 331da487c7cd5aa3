package mailtext

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"regexp"
	"strings"

	"github.com/emersion/go-message/textproto"
)

const (
	deepest   = 20     // levels of parts that are looked into
	mostParts = 10_000 // of a message
)

// Attachment is a part of a message that is a file.
type Attachment struct{ Name string }

// Attachments calls found for each attachment of a message until that returns false. It
// reads the message as a stream. The error is the reader's: parts that are not put
// together right have as many attachments as can be seen.
func Attachments(r io.Reader, found func(Attachment) bool) error {
	noted := &notingReader{r: r}
	buffered := bufio.NewReader(noted)
	h, err := ReadHeader(buffered)
	if err != nil {
		return err
	}
	w := &walk{found: found}
	w.part(h, buffered, 0)
	return noted.err
}

// notingReader keeps the error of a reader, whatever becomes of it above.
type notingReader struct {
	r   io.Reader
	err error
}

func (r *notingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// walk goes through the parts of a message.
type walk struct {
	found func(Attachment) bool
	parts int
	ended bool
}

func (w *walk) tell(name string) { w.ended = !w.found(Attachment{name}) }

func (w *walk) part(h Header, body *bufio.Reader, depth int) {
	kind, params := parameters(first(h["content-type"]))
	w.parts++
	if w.ended || w.parts > mostParts {
		return
	}
	switch {
	case isFile(h, kind, params):
		w.tell(fileName(h, params))
	case depth >= deepest:
	case strings.HasPrefix(kind, "multipart/") && params["boundary"] != "":
		w.multipart(body, params["boundary"], depth)
	case kind == "message/rfc822" || kind == "message/global":
		if inner, err := ReadHeader(body); err == nil {
			w.part(inner, body, depth+1)
		}
	case kind == "" || strings.HasPrefix(kind, "text/"):
		w.uuencoded(body)
	}
}

func (w *walk) multipart(body io.Reader, boundary string, depth int) {
	m := textproto.NewMultipartReader(body, boundary)
	for !w.ended {
		p, err := m.NextPart()
		if err != nil {
			return
		}
		h := Header{}
		for f := p.Header.Fields(); f.Next(); {
			name := strings.ToLower(f.Key())
			h[name] = append(h[name], f.Value())
		}
		w.part(h, bufio.NewReader(p), depth+1)
	}
}

// isFile says that a part is one: it has a name or says so. What a text shows inside of
// itself is none, and nor are signatures.
func isFile(h Header, kind string, params map[string]string) bool {
	disposition, _ := parameters(first(h["content-disposition"]))
	switch {
	case strings.HasPrefix(kind, "multipart/"), strings.HasSuffix(kind, "-signature"):
		return false
	case disposition == "attachment":
		return true
	case disposition == "inline" && h["content-id"] != nil && strings.HasPrefix(kind, "image/"):
		return false
	}
	return fileName(h, params) != ""
}

// fileName is what a part is called; "" = nothing.
func fileName(h Header, params map[string]string) string {
	_, d := parameters(first(h["content-disposition"]))
	for _, name := range []string{d["filename"], params["name"]} {
		if name != "" {
			return Decode(name, "")
		}
	}
	return ""
}

var looseParam = regexp.MustCompile(`(?i);\s*(filename|name|boundary|charset)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))`)

// parameters reads the value of a Content- field, and what can be seen of a wrong one.
func parameters(v string) (string, map[string]string) {
	if kind, params, err := mime.ParseMediaType(v); err == nil {
		return kind, params
	}
	kind, _, _ := strings.Cut(v, ";")
	params := map[string]string{}
	for _, m := range looseParam.FindAllStringSubmatch(v, -1) {
		params[strings.ToLower(m[1])] = strings.TrimSpace(m[2] + m[3])
	}
	return strings.ToLower(strings.TrimSpace(kind)), params
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

var uuBegin = regexp.MustCompile(`^begin [0-7]{3,4} (\S.*?)\r?\n$`)

// uuencoded finds files in a text, as mail had them before MIME.
func (w *walk) uuencoded(body *bufio.Reader) {
	for begins := true; !w.ended; {
		line, err := body.ReadSlice('\n')
		if m := uuBegin.FindSubmatch(line); begins && m != nil {
			w.tell(Unlabelled(string(m[1]), ""))
		}
		begins = err == nil // else the rest of a long line follows
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}
