package files

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
)

// An object container file (Avro specification 1.11.1) is a magic, a map of
// metadata and a marker; then blocks, each the count of its records, the size
// of what follows, the records as the codec packs them, and the marker again.

const (
	magic    = "Obj\x01"
	syncSize = 16
	// codec is the one that every reader of the format has to know.
	codec = "deflate"
	// level of compression. On recorded rows and events 6 takes 3 to 8 % less room
	// than 3, at 130 to 150 MB/s instead of 190 to 270.
	level = 6
	// Limits of what is read, so that no file makes a reader hold more. A block
	// that is written holds blockBytes and at most one message more.
	maxBlock    = 16 << 20
	maxMetadata = 4 << 20
)

// Keys of the metadata.
const (
	metaSchema       = "avro.schema"
	metaCodec        = "avro.codec"
	metaTopic        = "flightlog.topic"
	metaPartition    = "flightlog.partition"
	metaLane         = "flightlog.lane"
	metaHour         = "flightlog.hour"
	metaPart         = "flightlog.part"
	metaInstallation = "flightlog.installation"
	metaGeneration   = "flightlog.generation"
	// metaFingerprint is the CRC-64-AVRO of the record, and metaFrame (hex) what
	// makes a block of rows a message of the topic when it is put before it: so
	// they are read, and resolved, as any message is.
	metaFingerprint = "flightlog.schema"
	metaFrame       = "flightlog.frame"
)

// metadatum is an entry of the metadata.
type metadatum struct{ key, value string }

// appendHeader writes all that stands before the first block.
func appendHeader(b []byte, metadata []metadatum, marker [syncSize]byte) []byte {
	b = append(b, magic...)
	b = binary.AppendVarint(b, int64(len(metadata)))
	for _, m := range metadata {
		b = appendText(appendText(b, m.key), m.value)
	}
	return append(append(b, 0), marker[:]...)
}

// appendText writes a string; Avro's long is the varint of package binary.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendVarint(b, int64(len(s))), s...)
}

// packer makes blocks. Its memory serves every file of an archive.
type packer struct {
	deflate *flate.Writer
	packed  bytes.Buffer
	out     []byte
}

// block packs records. It is good until the next one.
func (p *packer) block(records []byte, count int64, marker [syncSize]byte) ([]byte, error) {
	p.packed.Reset()
	if p.deflate == nil {
		var err error
		if p.deflate, err = flate.NewWriter(&p.packed, level); err != nil {
			return nil, err
		}
	}
	p.deflate.Reset(&p.packed)
	if _, err := p.deflate.Write(records); err != nil {
		return nil, err
	}
	if err := p.deflate.Close(); err != nil {
		return nil, err
	}
	p.out = binary.AppendVarint(p.out[:0], count)
	p.out = binary.AppendVarint(p.out, int64(p.packed.Len()))
	p.out = append(p.out, p.packed.Bytes()...)
	return append(p.out, marker[:]...), nil
}

// container reads a file block by block.
type container struct {
	in       *bufio.Reader
	metadata map[string]string
	marker   [syncSize]byte
	packed   []byte
	inflate  io.ReadCloser
	records  bytes.Buffer
}

// errNoContainer: the bytes are no object container file.
var errNoContainer = errors.New("it is no Avro object container file")

// newContainer reads the header.
func newContainer(r io.Reader) (*container, error) {
	c := &container{in: bufio.NewReaderSize(r, 256<<10), metadata: map[string]string{}, inflate: flate.NewReader(nil)}
	var begin [len(magic)]byte
	if _, err := io.ReadFull(c.in, begin[:]); err != nil || string(begin[:]) != magic {
		return nil, errNoContainer
	}
	left := maxMetadata
	for {
		n, err := c.long()
		if n < 0 && err == nil { // then the size of this part of the map
			n = -n
			_, err = c.long()
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		for ; n != 0; n-- {
			key, err := c.text(&left)
			if err != nil {
				return nil, err
			}
			if c.metadata[key], err = c.text(&left); err != nil {
				return nil, err
			}
		}
	}
	_, err := io.ReadFull(c.in, c.marker[:])
	return c, truncated(err)
}

// next reads a block: how many records it holds, and the records, which are good
// until the next call. io.EOF is the end of the file.
func (c *container) next() (int64, []byte, error) {
	if _, err := c.in.Peek(1); errors.Is(err, io.EOF) {
		return 0, nil, io.EOF
	}
	count, err := c.long()
	if err != nil {
		return 0, nil, err
	}
	size, err := c.long()
	if err != nil {
		return 0, nil, err
	}
	if count < 0 || size < 0 || size > maxBlock {
		return 0, nil, fmt.Errorf("a block of %d records and %d bytes", count, size)
	}
	if int64(cap(c.packed)) < size {
		c.packed = make([]byte, size)
	}
	c.packed = c.packed[:size]
	if _, err := io.ReadFull(c.in, c.packed); err != nil {
		return 0, nil, truncated(err)
	}
	var marker [syncSize]byte
	if _, err := io.ReadFull(c.in, marker[:]); err != nil {
		return 0, nil, truncated(err)
	}
	if marker != c.marker {
		return 0, nil, errors.New("a block does not end with the file's marker")
	}
	if err := c.inflate.(flate.Resetter).Reset(bytes.NewReader(c.packed), nil); err != nil {
		return 0, nil, err
	}
	c.records.Reset()
	n, err := c.records.ReadFrom(io.LimitReader(c.inflate, maxBlock+1))
	if err == nil && n > maxBlock {
		err = fmt.Errorf("it holds more than %d bytes", maxBlock)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("a block cannot be unpacked: %w", err)
	}
	return count, c.records.Bytes(), nil
}

func (c *container) long() (int64, error) {
	v, err := binary.ReadVarint(c.in)
	return v, truncated(err)
}

// text reads a string of the metadata, of which so many bytes are allowed.
func (c *container) text(left *int) (string, error) {
	n, err := c.long()
	if err != nil {
		return "", err
	}
	if n < 0 || n > int64(*left) {
		return "", fmt.Errorf("%d bytes of metadata", n)
	}
	*left -= int(n)
	text := make([]byte, n)
	_, err = io.ReadFull(c.in, text)
	return string(text), truncated(err)
}

// truncated tells an end where there should be more from the file's end.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
