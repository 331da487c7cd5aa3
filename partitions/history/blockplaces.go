package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// blockPlace is a line of a checkpoint's places.ndjson: the object that contains a block.
// Number and Count are set only for blocks of places, which the state does not list.
type blockPlace struct {
	Block    string `json:"block,omitempty"`  // SHA-256 of a block of records or messages
	Places   string `json:"places,omitempty"` // SHA-256 of a block of places
	Number   uint32 `json:"number,omitempty"`
	Count    int    `json:"count,omitempty"`
	Arrivals uint64 `json:"arrivals,omitempty"` // of places; in the last line only
	Object   string `json:"object,omitempty"`
}

// blockPlaces returns the bytes of the checkpoint's places.ndjson.
func (m *Mem) blockPlaces() ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	seen := make(map[string]bool)
	put := func(r BlockRef) error {
		if seen[r.SHA256] {
			return nil
		}
		seen[r.SHA256] = true
		return e.Encode(blockPlace{Block: r.SHA256, Object: r.Object})
	}
	for _, b := range m.order {
		for _, block := range b.blocks {
			if err := put(block.ref); err != nil {
				return nil, err
			}
		}
	}
	for _, b := range m.messages.blocks {
		if err := put(b.ref); err != nil {
			return nil, err
		}
	}
	for _, b := range m.places.blocks {
		p := blockPlace{Places: b.ref.SHA256, Number: b.ref.Block, Count: b.ref.Count, Object: b.ref.Object}
		if err := e.Encode(p); err != nil {
			return nil, err
		}
	}
	err := e.Encode(blockPlace{Arrivals: m.places.arrivals})
	return buf.Bytes(), err
}

// parseBlockPlace reads a line. last is the object of the line before.
func parseBlockPlace(line []byte, last string) (p blockPlace, err error) {
	if p.scan(line, last) {
		return p, nil
	}
	return decodeBlockPlace(line)
}

// check refuses a block that no writer names. The last line names none.
func (p *blockPlace) check() error {
	if p.Object == "" {
		return nil
	}
	ref := BlockRef{Count: p.Count, SHA256: p.Block + p.Places, Object: p.Object}
	return ref.check()
}

// decodeBlockPlace reads a line in any form.
func decodeBlockPlace(line []byte) (p blockPlace, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return p, nil
}

// scan reads the exact form of the lines that blockPlaces writes for blocks. It returns
// false for any other line.
func (p *blockPlace) scan(line []byte, last string) bool {
	s := scanner{exactjson.Over(line)}
	switch {
	case s.Has(`{"block":`):
		p.Block = s.text()
	case s.Has(`{"places":`):
		p.Places = s.text()
		if s.Has(`,"number":`) {
			p.Number = s.number32()
		}
		if s.Has(`,"count":`) {
			p.Count = int(s.number())
		}
	default:
		return false
	}
	s.Want(`,"object":`)
	p.Object = s.textLike(last)
	s.Want(`}`)
	return s.Ended()
}

// readBlockPlaces reads the checkpoint's places.ndjson of size bytes. The state must be read before.
func (m *Mem) readBlockPlaces(r io.Reader, size int64) error {
	object := make(map[string]string)
	ended, last := false, ""
	err := newLines(r, size).each(func(line []byte) error {
		p, err := parseBlockPlace(line, last)
		if err != nil {
			return err
		}
		last = p.Object
		if err := p.check(); err != nil {
			return err
		}
		switch {
		case ended:
			return fmt.Errorf("%w: data after the last line", ErrCorrupt)
		case p.Object == "":
			ended = true
			m.places.arrivals = p.Arrivals
		case p.Block != "":
			object[p.Block] = p.Object
		case p.Places != "":
			m.places.blocks = append(m.places.blocks, &lineBlock{ref: BlockRef{Block: p.Number, Count: p.Count, SHA256: p.Places, Object: p.Object}})
		}
		return nil
	})
	if err == nil && !ended {
		err = fmt.Errorf("%w: last line is missing", ErrCorrupt)
	}
	if err != nil {
		return err
	}
	setObject := func(ref *BlockRef) {
		if ref.Object = object[ref.SHA256]; ref.Object == "" {
			err = fmt.Errorf("%w: no object for block %s", ErrCorrupt, ref.SHA256)
		}
	}
	for _, b := range m.order {
		for _, block := range b.blocks {
			setObject(&block.ref)
		}
	}
	for _, b := range m.messages.blocks {
		setObject(&b.ref)
	}
	return err
}
