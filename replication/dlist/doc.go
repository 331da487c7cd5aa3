package dlist

/* The API every user of this package can count on (implementation beside it):

Encoding (canonical, as Cyrus prints; server literals are {N}, client literals {N+}):
	func Append(dst []byte, v Value, plus bool) []byte
	func AppendString(dst []byte, s string, plus bool) []byte
	constructors: S(string) Value, N(uint64) Value, Hex64?, F(flag) Value, L(...Value) Value, KV(...Pair) Value, P(key, Value) Pair

Typed access, each with an error that names the key (replication-protocol.md 2.4):
	func (v Value) Text(key) (string, bool, error)   // present? NIL gives "", true
	func (v Value) Num32(key), Num64(key), GUID…

Decoding, as a stream (nothing is buffered but scalars up to Limits):
	type Limits struct { MaxWord, MaxQuoted int; MaxLiteral int64; MaxDepth, MaxItems int }
	func NewDecoder(r *bufio.Reader, l Limits) *Decoder
	func (d *Decoder) Key() (string, error)                       // key of the top level, and the space after it
	func (d *Decoder) Value() (Value, error)                      // a whole value
	func (d *Decoder) KVList(fn func(key string) error) error     // fn consumes exactly one value
	func (d *Decoder) List(fn func() error) error                 // fn consumes exactly one value
	func (d *Decoder) Peek() (Kind, error)
	func (d *Decoder) File() (FileInfo, io.Reader, error)         // body must be read before the next call; the rest is skipped otherwise
	func (d *Decoder) Skip() error                                // a value of any kind, with literals and file bodies
	func (d *Decoder) End() error                                 // CR? LF after the top-level value
	func (d *Decoder) SkipLine() error                            // after a *SyntaxError or a refusal: to the end of the command, literals included

JSON (design.md 5, "dlist in JSON"): MarshalJSON/UnmarshalJSON on Value; String → JSON string
(or {"b64":"…"} when not UTF-8), decimal strings that are canonical and < 2^53 → JSON number only
for keys that are numbers on the wire is NOT guessed: an unknown scalar stays a string;
Nil → null; Flag → {"flag":"\\Seen"}; List → array; KVList → {"kv":[["KEY",value],…]};
wire → JSON → wire gives the same bytes. */
