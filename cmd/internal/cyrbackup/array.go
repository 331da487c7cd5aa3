package cyrbackup

import (
	"bytes"
	"encoding/json"
	"io"
)

// array writes a JSON array item by item, in the layout of Cyrus's tools.
func array(w io.Writer, fill func(add func(any) error) error) error {
	a := &arrayWriter{w: w}
	return a.fill(func() error { return fill(a.add) })
}

// arrayWriter writes a JSON array without holding more than one item in memory.
type arrayWriter struct {
	w     io.Writer
	begun bool
	buf   bytes.Buffer
}

// fill calls items, which adds the items, and ends the array.
func (a *arrayWriter) fill(items func() error) error {
	if err := items(); err != nil {
		return err
	}
	end := "[]\n"
	if a.begun {
		end = "\n]\n"
	}
	_, err := io.WriteString(a.w, end)
	return err
}

// add adds an item.
func (a *arrayWriter) add(v any) error {
	if err := a.encode(v, "  "); err != nil {
		return err
	}
	return a.item(a.buf.Bytes())
}

// encode makes the indented JSON of v in buf, without a newline at the end.
func (a *arrayWriter) encode(v any, indent string) error {
	a.buf.Reset()
	enc := json.NewEncoder(&a.buf)
	enc.SetEscapeHTML(false) // it would change the & in names
	enc.SetIndent(indent, "  ")
	err := enc.Encode(v)
	a.buf.Truncate(len(bytes.TrimSuffix(a.buf.Bytes(), []byte("\n"))))
	return err
}

func (a *arrayWriter) item(text []byte) error {
	sep := ",\n  "
	if !a.begun {
		sep = "[\n  "
	}
	a.begun = true
	if _, err := io.WriteString(a.w, sep); err != nil {
		return err
	}
	_, err := a.w.Write(text)
	return err
}

// object adds an item that is an object with at least one field, whose last field is an
// array of any length. An empty array is omitted.
func (a *arrayWriter) object(head any, field string, fill func(add func(any) error) error) error {
	const end = "\n  }"
	if err := a.encode(head, "  "); err != nil {
		return err
	}
	if err := a.item(bytes.TrimSuffix(a.buf.Bytes(), []byte(end))); err != nil {
		return err
	}
	sep := ",\n    \"" + field + "\": [\n      "
	err := fill(func(v any) error {
		if err := a.encode(v, "      "); err != nil {
			return err
		}
		if _, err := io.WriteString(a.w, sep); err != nil {
			return err
		}
		sep = ",\n      "
		_, err := a.w.Write(a.buf.Bytes())
		return err
	})
	if err != nil {
		return err
	}
	closing := end
	if sep == ",\n      " {
		closing = "\n    ]" + end
	}
	_, err = io.WriteString(a.w, closing)
	return err
}
