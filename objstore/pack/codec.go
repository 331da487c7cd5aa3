package pack

import (
	"bufio"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxFrame is the maximum size of a decompressed frame.
	maxFrame = 4 << 20
	// maxWindow is the maximum window size. Every zstd program decodes it without an
	// option.
	maxWindow = 8 << 20
)

var (
	encoders  [len(levelNames)]sync.Pool // of *zstd.Encoder
	decoders  sync.Pool                  // of *zstd.Decoder
	scratches sync.Pool                  // of *scratch
)

// scratch is the memory of a writer or an open reader.
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

// encodeFrame appends raw to dst as one frame with its size and checksum.
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
		// Without it the two fast levels do not compress blocks without repetitions, such
		// as all base64 attachments: ratio 1.10 instead of 1.39.
		zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderCRC(true),
		zstd.WithWindowSize(encoderWindow),
		zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true))
}

// encoderWindow limits the memory of an encoder. Mail has few repetitions at a greater
// distance within a frame.
const encoderWindow = 1 << 20

// decodeFrame decompresses the single frame comp into dst, whose length is the size in the
// frame's header. The result has been checked against its checksum.
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
		return corrupt("frame contains %d bytes, its header states %d", len(raw), len(dst))
	}
	return nil
}
