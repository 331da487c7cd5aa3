package pack

import (
	"fmt"
	"io"
)

// Level is how much work goes into compression.
type Level uint8

// The levels. Every reader reads them all.
const (
	Fastest Level = iota
	Default
	Better
)

var levelNames = [...]string{Fastest: "fastest", Default: "default", Better: "better"}

// ParseLevel reads a level as settings spell it; "" is Fastest.
func ParseLevel(s string) (Level, error) {
	for l, name := range levelNames {
		if s == name {
			return Level(l), nil
		}
	}
	if s == "" {
		return Fastest, nil
	}
	return 0, fmt.Errorf("compression level %q: must be fastest, default or better", s)
}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level %d", uint8(l))
}

// DefaultFrameSize is where small mail compresses nearly as well as in one large
// frame, and a single message still costs little to read.
const DefaultFrameSize = 256 << 10

// Options say how a Writer writes; readers need none of it.
type Options struct {
	Level Level // zero: Fastest
	// FrameSize is how many bytes of small entries share a frame, before compression;
	// larger entries have frames of their own. Zero is DefaultFrameSize, and it is held
	// between 4 KiB and 2 MiB.
	FrameSize int
	// Random gives the 16 bytes that make each object unique. Nil is crypto/rand; tests
	// set it to get the same object again.
	Random io.Reader
}

func (o Options) frameSize() int {
	if o.FrameSize == 0 {
		return DefaultFrameSize
	}
	return min(max(o.FrameSize, 4<<10), 2<<20)
}
