package dlist

// Limits limits how much a Decoder reads into memory. A field of 0 has the default in its
// comment.
type Limits struct {
	MaxWord    int   // bytes of an atom or command word; 131072, Cyrus's maxword
	MaxQuoted  int   // bytes of a quoted string; 131072, Cyrus's maxquoted
	MaxLiteral int64 // bytes of a literal; 16 MiB. Cyrus's own 131072 is too small for Sieve scripts and annotations that it sends
	MaxDepth   int   // lists within lists; 16 (Cyrus prints at most 5)
	MaxItems   int   // values in one call of Value; 262144
	MaxBytes   int64 // bytes of all scalars in one call of Value; 64 MiB
	Loans      Loans // of memory, for all commands; unlimited
}

func (l Limits) withDefaults() Limits {
	if l.MaxWord <= 0 {
		l.MaxWord = 128 << 10
	}
	if l.MaxQuoted <= 0 {
		l.MaxQuoted = 128 << 10
	}
	if l.MaxLiteral <= 0 {
		l.MaxLiteral = 16 << 20
	}
	if l.MaxDepth <= 0 {
		l.MaxDepth = 16
	}
	if l.MaxItems <= 0 {
		l.MaxItems = 256 << 10
	}
	if l.MaxBytes <= 0 {
		l.MaxBytes = 64 << 20
	}
	return l
}
