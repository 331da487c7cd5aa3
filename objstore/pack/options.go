package pack

import (
	"fmt"
	"io"
)

// Level is the compression level.
type Level uint8

// The levels. Every reader reads all of them.
const (
	Fastest Level = iota
	Default
	Better
)

var levelNames = [...]string{Fastest: "fastest", Default: "default", Better: "better"}

// ParseLevel reads a level in the spelling of settings; "" is Fastest.
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

// DefaultFrameSize is a size at which small mail compresses nearly as well as in one large
// frame, and a single message is still cheap to read.
const DefaultFrameSize = 256 << 10

// Options configure a Writer; readers need none of them.
type Options struct {
	Level Level // zero: Fastest
	// FrameSize is the maximum size of a frame of small entries, before compression; larger
	// entries have separate frames. Zero is DefaultFrameSize. The value is limited to the
	// range from 4 KiB to 2 MiB.
	FrameSize int
	// Random provides the 16 bytes that make each object unique. Nil is crypto/rand; tests
	// set it to get reproducible objects.
	Random io.Reader
}

func (o Options) frameSize() int {
	if o.FrameSize == 0 {
		return DefaultFrameSize
	}
	return min(max(o.FrameSize, 4<<10), 2<<20)
}
