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
	deepest   = 20     // levels of nested parts
	mostParts = 10_000 // parts of a message
)

// Attachment is a part of a message that is a file.
type Attachment struct{ Name string }

// Attachments calls found for each attachment of a message until it returns false. It reads the
// message as a stream. It returns only errors of the reader: in a malformed message, the recognisable
// attachments count.
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

// notingReader keeps an error of a reader even if its caller ignores it.
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

// walk visits the parts of a message.
type walk struct {
	found func(Attachment) bool
	parts int
	ended bool
}

func (w *walk) emit(name string) { w.ended = !w.found(Attachment{name}) }

func (w *walk) part(h Header, body *bufio.Reader, depth int) {
	kind, params := parameters(first(h["content-type"]))
	w.parts++
	if w.ended || w.parts > mostParts {
		return
	}
	switch {
	case isFile(h, kind, params):
		w.emit(fileName(h, params))
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

// isFile reports whether a part is a file: it has a name or an attachment disposition. Images shown
// within a text and signatures are not.
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

// fileName returns the name of a part; "" = none.
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

// parameters parses the value of a Content- field, as far as possible if it is malformed.
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

// uuencoded finds files in a text, as mail contained them before MIME.
func (w *walk) uuencoded(body *bufio.Reader) {
	for begins := true; !w.ended; {
		line, err := body.ReadSlice('\n')
		if m := uuBegin.FindSubmatch(line); begins && m != nil {
			w.emit(Unlabelled(string(m[1]), ""))
		}
		begins = err == nil // otherwise the rest of a long line follows
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}
