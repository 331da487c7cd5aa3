package pack

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// kind is a row of the table of names. Its value is stored in directories: never reuse one.
type kind struct {
	code byte
	id   int    // bytes of the hash before text, written as lower-case hex; 0 = none
	text string // the name, or the part after the hash
	// numbered: in a segment the name follows the number of its commit, 16 digits and a
	// slash.
	numbered bool
}

// kinds is the fixed list of names (docs/format.md 1.3).
var kinds = [...]kind{
	{1, 0, "commit.ndjson", true},
	{2, 0, "places.ndjson", true},
	{3, 0, "state.ndjson", false},
	{4, 0, "state.json", false},
	{5, 0, "backup.json", false},
	{6, 0, "directory.json", false},
	{kindMessage, 20, ".eml", true},
	{kindPiece, 32, ".part", true},
	{18, 32, ".records", false},
	{19, 32, ".messages", false},
	{20, 32, ".places", false},
}

// The kinds that are named by bytes, without their text.
const (
	kindMessage = 16
	kindPiece   = 17
)

// The byte before each entry of a directory: a kind and flags.
const (
	kindMask = 0x1f
	flagNum  = 0x20 // the number of a commit follows
	flagDict = 0x40 // reserved
	flagKey  = 0x80 // reserved

	numberDigits = 16
	maxNumber    = 9_999_999_999_999_999
)

// Name is the name of an entry in the form of directories, which needs no memory beside
// itself. Names can be compared. The zero Name is not allowed.
type Name struct {
	n uint8
	b [maxName]byte
}

// maxName is the length of the longest name: kind, number, hash.
const maxName = 1 + 8 + 32

// MessageName is the name of a whole message.
func MessageName(guid [20]byte) Name { return hashName(kindMessage, guid[:]) }

// PieceName is the name of a piece of a large message.
func PieceName(sum [32]byte) Name { return hashName(kindPiece, sum[:]) }

func hashName(code byte, hash []byte) (n Name) {
	n.b[0] = code
	n.n = uint8(1 + copy(n.b[1:], hash))
	return n
}

// ParseName returns ErrName if an entry may not have this name.
func ParseName(name string) (n Name, err error) {
	b, err := appendName(n.b[:0], name)
	n.n = uint8(len(b))
	return n, err
}

// bytes returns the name in the form of directories.
func (n *Name) bytes() []byte { return n.b[:n.n] }

// appendText appends the name as it is in the archive.
func (n *Name) appendText(b []byte) []byte {
	b, _, _ = appendNameText(b, n.bytes()) // a name that was made or parsed here
	return b
}

// Append appends the name as it is in the archive.
func (n Name) Append(b []byte) []byte { return n.appendText(b) }

// String returns the name as it is in the archive.
func (n Name) String() string {
	var b [2*maxName + 32]byte
	return string(n.appendText(b[:0]))
}

// CheckName returns ErrName if an entry may not have this name.
func CheckName(name string) error {
	_, err := ParseName(name)
	return err
}

// appendName appends the name in the form of directories: kind, number, hash.
func appendName(b []byte, name string) ([]byte, error) {
	rest, number, numbered := name, uint64(0), false
	if len(name) > numberDigits && name[numberDigits] == '/' {
		if number, numbered = parseNumber(name[:numberDigits]); !numbered {
			return b, fmt.Errorf("%w: %q", ErrName, name)
		}
		rest = name[numberDigits+1:]
	}
	for _, k := range kinds {
		hash, ok := strings.CutSuffix(rest, k.text)
		if !ok || len(hash) != 2*k.id || !lowerHex(hash) || numbered && !k.numbered {
			continue
		}
		if numbered {
			b = binary.AppendUvarint(append(b, k.code|flagNum), number)
		} else {
			b = append(b, k.code)
		}
		return appendHex(b, hash), nil
	}
	return b, fmt.Errorf("%w: %q", ErrName, name)
}

// appendHex appends the bytes of lower-case hex digits.
func appendHex(b []byte, digits string) []byte {
	for ; len(digits) >= 2; digits = digits[2:] {
		b = append(b, hexValue(digits[0])<<4|hexValue(digits[1]))
	}
	return b
}

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'a' + 10
}

// cutName removes a name from the front of b.
func cutName(b []byte) (name string, rest []byte, err error) {
	var buf [128]byte
	text, rest, err := appendNameText(buf[:0], b)
	return string(text), rest, err
}

// appendNameText appends the name at the front of b to text, as it is in the archive.
func appendNameText(text, b []byte) (_, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, corrupt("directory ends before an entry")
	}
	head := b[0]
	b = b[1:]
	if head&(flagDict|flagKey) != 0 {
		return nil, nil, fmt.Errorf("%w: entry is encrypted or compressed with a dictionary", ErrVersion)
	}
	k, ok := kindOf(head & kindMask)
	if !ok {
		return nil, nil, fmt.Errorf("%w: entry of unknown kind %d", ErrVersion, head&kindMask)
	}
	if head&flagNum != 0 {
		var number uint64
		if number, b, err = cutUvarint(b, maxNumber); err != nil {
			return nil, nil, err
		}
		if !k.numbered {
			return nil, nil, corrupt("directory: number before %q", k.text)
		}
		text = fmt.Appendf(text, "%0*d/", numberDigits, number)
	}
	if len(b) < k.id {
		return nil, nil, corrupt("directory ends within a name")
	}
	text = append(hex.AppendEncode(text, b[:k.id]), k.text...)
	return text, b[k.id:], nil
}

func kindOf(code byte) (kind, bool) {
	for _, k := range kinds {
		if k.code == code {
			return k, true
		}
	}
	return kind{}, false
}

func parseNumber(s string) (n uint64, ok bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

func lowerHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// cutUvarint removes a number from 0 to limit from the front of b.
func cutUvarint(b []byte, limit uint64) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > limit {
		return 0, nil, corrupt("directory: number missing or over %d", limit)
	}
	return v, b[n:], nil
}
