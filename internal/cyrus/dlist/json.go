package dlist

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// MarshalJSON is AppendJSON.
func (v Value) MarshalJSON() ([]byte, error) { return AppendJSON(nil, v), nil }

// AppendJSON appends v in the form described in the package comment.
func AppendJSON(dst []byte, v Value) []byte {
	switch v.Kind {
	case String:
		return AppendJSONString(dst, v.Str)
	case Flag:
		dst = append(dst, `{"flag":`...)
		dst = AppendJSONString(dst, v.Str)
		return append(dst, '}')
	case List:
		dst = append(dst, '[')
		for i, it := range v.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendJSON(dst, it)
		}
		return append(dst, ']')
	case KVList:
		dst = append(dst, `{"kv":`...)
		dst = AppendJSONPairs(dst, v.Pairs)
		return append(dst, '}')
	case File:
		dst = append(dst, `{"file":{"partition":`...)
		dst = AppendJSONString(dst, v.File.Partition)
		dst = append(dst, `,"guid":`...)
		dst = AppendJSONString(dst, v.File.GUID)
		dst = append(dst, `,"size":"`...)
		dst = strconv.AppendUint(dst, v.File.Size, 10)
		return append(dst, `"}}`...)
	default:
		return append(dst, "null"...)
	}
}

// AppendJSONPairs appends [["KEY",value],…].
func AppendJSONPairs(dst []byte, pairs []Pair) []byte {
	dst = append(dst, '[')
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		dst = AppendJSONString(dst, p.Key)
		dst = append(dst, ',')
		dst = AppendJSON(dst, p.Value)
		dst = append(dst, ']')
	}
	return append(dst, ']')
}

// AppendJSONString appends s as a JSON string, or as {"b64":"…"} if it is not UTF-8.
func AppendJSONString(dst []byte, s string) []byte {
	plain := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			plain = false
			break
		}
	}
	switch {
	case plain:
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	case !utf8.ValidString(s):
		dst = append(dst, `{"b64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, []byte(s))
		return append(dst, `"}`...)
	}
	return appendEscaped(dst, s)
}

// appendEscaped appends a UTF-8 string with the escapes that JSON requires.
func appendEscaped(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// JSONString is a string in the form of AppendJSONString, for encoding/json.
type JSONString string

// MarshalJSON is AppendJSONString.
func (s JSONString) MarshalJSON() ([]byte, error) { return AppendJSONString(nil, string(s)), nil }

// UnmarshalJSON reads "…" or {"b64":"…"}.
func (s *JSONString) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		if string(b) == "null" {
			return errors.New("dlist: null for a string")
		}
		return json.Unmarshal(b, (*string)(s))
	}
	var o struct {
		B64 *[]byte `json:"b64"`
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	if o.B64 == nil {
		return fmt.Errorf("dlist: string expected, have %.40q", b)
	}
	*s = JSONString(*o.B64)
	return nil
}

// MarshalJSON writes [key,value].
func (p Pair) MarshalJSON() ([]byte, error) {
	dst := append([]byte{'['}, AppendJSONString(nil, p.Key)...)
	dst = append(dst, ',')
	return append(AppendJSON(dst, p.Value), ']'), nil
}

// UnmarshalJSON reads [key,value].
func (p *Pair) UnmarshalJSON(b []byte) error {
	var a []json.RawMessage
	if err := json.Unmarshal(b, &a); err != nil {
		return err
	}
	if len(a) != 2 {
		return fmt.Errorf("dlist: pair expected, have %d elements", len(a))
	}
	if err := (*JSONString)(&p.Key).UnmarshalJSON(a[0]); err != nil {
		return err
	}
	return p.Value.UnmarshalJSON(a[1])
}

// UnmarshalJSON reads only the output of MarshalJSON: a bare number is refused.
func (v *Value) UnmarshalJSON(b []byte) error {
	*v = Value{}
	switch {
	case len(b) == 0:
		return errors.New("dlist: empty JSON")
	case string(b) == "null":
		return nil
	case b[0] == '"':
		v.Kind = String
		return json.Unmarshal(b, &v.Str)
	case b[0] == '[':
		v.Kind = List
		if err := json.Unmarshal(b, &v.Items); err != nil {
			return err
		}
		if len(v.Items) == 0 {
			v.Items = nil
		}
		return nil
	case b[0] == '{':
		return v.unmarshalObject(b)
	}
	return fmt.Errorf("dlist: JSON %.40q is not a value", b)
}

func (v *Value) unmarshalObject(b []byte) error {
	var o struct {
		B64  *[]byte     `json:"b64"`
		Flag *JSONString `json:"flag"`
		KV   *[]Pair     `json:"kv"`
		File *struct {
			Partition JSONString `json:"partition"`
			GUID      JSONString `json:"guid"`
			Size      uint64     `json:"size,string"`
		} `json:"file"`
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	switch {
	case o.B64 != nil:
		v.Kind, v.Str = String, string(*o.B64)
	case o.Flag != nil:
		v.Kind, v.Str = Flag, string(*o.Flag)
	case o.KV != nil:
		v.Kind = KVList
		if len(*o.KV) > 0 {
			v.Pairs = *o.KV
		}
	case o.File != nil:
		v.Kind = File
		v.File = FileInfo{Partition: string(o.File.Partition), GUID: string(o.File.GUID), Size: o.File.Size}
	default:
		return fmt.Errorf("dlist: JSON object %.40q is not a value", b)
	}
	return nil
}
