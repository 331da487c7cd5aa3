package history

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// NewRandom returns new random bytes for Header.Random.
func NewRandom() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

func (h *Header) append(dst []byte) ([]byte, error) {
	dst, err := appendFields(append(dst, '{'), reflect.ValueOf(h).Elem(), false)
	return append(dst, '}', '\n'), err
}

// scan reads the exact form that append writes, of a version up to newest. It returns false
// for any other line.
func (h *Header) scan(line []byte, newest int) bool {
	s := scanner{exactjson.Over(line)}
	s.Want(`{"version":`)
	h.Version = int(s.number())
	s.Want(`,"backup":`)
	h.Backup = s.text()
	s.Want(`,"number":`)
	h.Number = s.number()
	s.Want(`,"prev":`)
	h.Prev = s.text()
	s.Want(`,"time":`)
	h.Time = s.time()
	s.Want(`,"host":`)
	h.Host = s.text()
	s.Want(`,"clock":`)
	h.Clock = s.time()
	s.Want(`,"connection":`)
	h.Connection = s.text()
	s.Want(`,"client":`)
	h.Client = s.text()
	s.Want(`,"random":`)
	h.Random = s.text()
	s.Want(`}`)
	s.Has("\n")
	return s.Ended() && h.Version >= Version && h.Version <= newest
}

// parseHeader reads the first line of a commit.ndjson.
func parseHeader(line []byte) (Header, error) {
	var h Header
	if h.scan(line, versionErased) && h.Number > 0 && h.Number <= maxNumber {
		return h, nil
	}
	return decodeHeader(line)
}

// decodeHeader reads a first line in any form.
func decodeHeader(line []byte) (Header, error) {
	var h Header
	if err := checkVersion(line, versionErased); err != nil {
		return h, err
	}
	d := json.NewDecoder(bytes.NewReader(line))
	err := eachKey(d, func(key string) error { return decodeField(d, reflect.ValueOf(&h).Elem(), key) })
	if err != nil {
		return h, fmt.Errorf("%w: header: %w", ErrCorrupt, err)
	}
	if h.Number == 0 || h.Number > maxNumber {
		return h, fmt.Errorf("%w: header: number %d", ErrCorrupt, h.Number)
	}
	return h, nil
}

// checkVersion refuses a first line of an unknown version before other keys are parsed:
// only "version" keeps its meaning in all versions. newest is the highest known version
// for this kind of object.
func checkVersion(line []byte, newest int) error {
	if !utf8.Valid(line) {
		return fmt.Errorf("%w: first line is not UTF-8", ErrCorrupt)
	}
	var v struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return fmt.Errorf("%w: first line: %w", ErrCorrupt, err)
	}
	if v.Version == nil {
		return fmt.Errorf("%w: first line has no version", ErrCorrupt)
	}
	if *v.Version < Version || *v.Version > newest {
		return fmt.Errorf("%w: format version %d, but this program reads versions up to %d: upgrade it",
			ErrVersion, *v.Version, newest)
	}
	return nil
}

// check compares the header with the backup and number of the object's key.
func (h *Header) check(backup string, number uint64) error {
	if h.Backup != backup || h.Number != number {
		return fmt.Errorf("%w: holds commit %d of %s, not commit %d of %s", ErrCorrupt, h.Number, h.Backup, number, backup)
	}
	return nil
}
