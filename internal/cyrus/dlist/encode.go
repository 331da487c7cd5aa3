package dlist

import "strconv"

// S is a string value.
func S(s string) Value { return Value{Kind: String, Str: s} }

// N is a number, as unsigned decimal.
func N(n uint64) Value { return Value{Kind: String, Str: strconv.FormatUint(n, 10)} }

// Hex64 is a number as 16 hex digits (imap/dlist.c, dlist_sethex64).
func Hex64(n uint64) Value {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[i] = digits[n>>(60-4*i)&15]
	}
	return Value{Kind: String, Str: string(b[:])}
}

// F is a message flag: \Seen unchanged, a user flag as an atom.
func F(flag string) Value {
	if isFlag(flag) {
		return Value{Kind: Flag, Str: flag}
	}
	return Value{Kind: String, Str: flag}
}

// L is a list.
func L(items ...Value) Value { return Value{Kind: List, Items: items} }

// KV is a kvlist.
func KV(pairs ...Pair) Value { return Value{Kind: KVList, Pairs: pairs} }

// P is a pair of a kvlist.
func P(key string, v Value) Pair { return Pair{Key: key, Value: v} }

// maxPlain is the minimum length of a string that is sent as a literal (lib/prot.c,
// MAXQSTRING).
const maxPlain = 1024

// Append appends v in Cyrus's format (imap/dlist.c, dlist_print). plus makes literals {N+},
// for a client. Of a File it appends only the head including its line end; the bytes must
// follow.
func Append(dst []byte, v Value, plus bool) []byte { return appendValue(dst, &v, plus) }

func appendValue(dst []byte, v *Value, plus bool) []byte {
	switch v.Kind {
	case String:
		return AppendString(dst, v.Str, plus)
	case Flag:
		if !isFlag(v.Str) {
			return AppendString(dst, v.Str, plus)
		}
		return append(dst, v.Str...)
	case List:
		dst = append(dst, '(')
		for i := range v.Items {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = appendValue(dst, &v.Items[i], plus)
		}
		return append(dst, ')')
	case KVList:
		dst = append(dst, "%("...)
		for i := range v.Pairs {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = appendPair(dst, &v.Pairs[i], plus)
		}
		return append(dst, ')')
	case File:
		return AppendFileHead(dst, v.File, plus)
	default:
		return append(dst, "NIL"...)
	}
}

// AppendPair appends a key, a space and a value: a member of a kvlist, or the
// argument of a command.
func AppendPair(dst []byte, p Pair, plus bool) []byte { return appendPair(dst, &p, plus) }

func appendPair(dst []byte, p *Pair, plus bool) []byte {
	dst = AppendString(dst, p.Key, plus)
	dst = append(dst, ' ')
	return appendValue(dst, &p.Value, plus)
}

// AppendFileHead appends %{partition guid size} and CR LF. The bytes of the file must
// follow.
func AppendFileHead(dst []byte, f FileInfo, plus bool) []byte {
	dst = append(dst, "%{"...)
	dst = AppendString(dst, f.Partition, plus)
	dst = append(dst, ' ')
	dst = append(dst, f.GUID...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, f.Size, 10)
	return append(dst, "}\r\n"...)
}

// AppendString appends a string in the form that Cyrus chooses: bare, quoted or literal
// (lib/prot.c, prot_printamap; lib/imparse.c, imparse_isnatom).
func AppendString(dst []byte, s string, plus bool) []byte {
	if s == "" {
		return append(dst, `""`...)
	}
	if len(s) < maxPlain {
		n := atomLen(s)
		if n == len(s) && s != "NIL" {
			return append(dst, s...)
		}
		if canQuote(s[n:]) {
			dst = append(dst, '"')
			dst = append(dst, s...)
			return append(dst, '"')
		}
	}
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	if plus {
		dst = append(dst, '+')
	}
	dst = append(dst, "}\r\n"...)
	return append(dst, s...)
}

// The bytes of an atom, as bits: those below and those from 64 on. Others are quoted, or need a
// literal.
const (
	lowAtom  uint64 = (1<<64 - 1) &^ (1<<0x1f - 1) &^ (1<<' ' | 1<<'"' | 1<<'%' | 1<<'(' | 1<<')' | 1<<'*')
	highAtom uint64 = (1<<64 - 1) &^ (1<<('\\'-64) | 1<<('{'-64) | 1<<(0x7f-64))
)

// atomLen returns the length of the longest beginning of s that could be an atom.
func atomLen(s string) int {
	for i := range len(s) {
		c := s[i]
		if c < 64 && lowAtom>>c&1 == 0 || c >= 64 && (c >= 128 || highAtom>>(c-64)&1 == 0) {
			return i
		}
	}
	return len(s)
}

// canQuote reports whether s can be a part of a quoted string.
func canQuote(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x80, c == 0, c == '\r', c == '\n', c == '"', c == '%', c == '\\':
			return false
		}
	}
	return true
}

// isFlag reports whether s can be sent raw and is read back as a flag.
func isFlag(s string) bool {
	if s == "" || s[0] != '\\' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if delimits(s[i]) {
			return false
		}
	}
	return true
}
