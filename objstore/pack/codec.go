package pack

import (
	"bufio"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxFrame is the largest frame, decompressed.
	maxFrame = 4 << 20
	// maxWindow is the most that a decoder may have to look back; every zstd program
	// decodes that without being asked to.
	maxWindow = 8 << 20
)

var (
	encoders  [len(levelNames)]sync.Pool // of *zstd.Encoder
	decoders  sync.Pool                  // of *zstd.Decoder
	scratches sync.Pool                  // of *scratch
)

// scratch is the memory of one writer or one open reader.
type scratch struct {
	comp, raw []byte
	br        *bufio.Reader
}

func getScratch() *scratch {
	if s, ok := scratches.Get().(*scratch); ok {
		return s
	}
	return &scratch{br: bufio.NewReaderSize(nil, 32<<10)}
}

func (s *scratch) release() {
	s.br.Reset(nil)
	s.comp, s.raw = s.comp[:0], s.raw[:0]
	scratches.Put(s)
}

// encodeFrame appends raw to dst as one frame, with its size and its checksum.
func encodeFrame(l Level, dst, raw []byte) ([]byte, error) {
	if int(l) >= len(encoders) {
		return nil, fmt.Errorf("unknown compression %v", l)
	}
	enc, ok := encoders[l].Get().(*zstd.Encoder)
	if !ok {
		var err error
		if enc, err = newEncoder(l); err != nil {
			return nil, err
		}
	}
	dst = enc.EncodeAll(raw, dst)
	encoders[l].Put(enc)
	return dst, nil
}

func newEncoder(l Level) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderLevel([...]zstd.EncoderLevel{Fastest: zstd.SpeedFastest, Default: zstd.SpeedDefault, Better: zstd.SpeedBetterCompression}[l]),
		// Without it the two fast levels store blocks without repetitions as they are, which
		// is every base64 attachment: ratio 1.10 in place of 1.39.
		zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderCRC(true),
		zstd.WithWindowSize(encoderWindow),
		zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true))
}

// encoderWindow bounds the memory of an encoder. Mail does not repeat itself at more
// than this distance within a frame.
const encoderWindow = 1 << 20

// decodeFrame decompresses the one frame that comp is into dst, which is as long as
// the frame's header says. What is in dst then has been compared with its checksum.
func decodeFrame(dst, comp []byte) error {
	dec, ok := decoders.Get().(*zstd.Decoder)
	if !ok {
		var err error
		dec, err = zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxWindow),
			zstd.WithDecoderMaxWindow(maxWindow),
			zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return err
		}
	}
	raw, err := dec.DecodeAll(comp, dst[:0:len(dst)])
	decoders.Put(dec)
	if err != nil {
		return corrupt("%v", err)
	}
	if len(raw) != len(dst) {
		return corrupt("frame holds %d bytes and says %d", len(raw), len(dst))
	}
	return nil
}
