package schemas

import (
	"encoding/binary"
	"fmt"
)

// headerSize is the length of a single-object header: C3 01 and the
// fingerprint (Avro specification, "Single-object encoding").
const headerSize = 10

// maxMessage caps a record that the contract gives no cap of its own, in bytes:
// more than a broker takes as one message.
const maxMessage = 64 << 20

func appendHeader(b []byte, fingerprint uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, 0xC3, 0x01), fingerprint)
}

// MessageFingerprint is the writer's fingerprint of a message in single-object
// encoding; false if b does not begin with such a header.
func MessageFingerprint(b []byte) (uint64, bool) {
	if len(b) < headerSize || b[0] != 0xC3 || b[1] != 0x01 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[2:]), true
}

// messageBody is what follows the header of a message of a record, in the
// record's present layout: a message of an older writer is resolved first.
func messageBody(b []byte, record string, fingerprint uint64, maxBytes int) ([]byte, error) {
	writer, ok := MessageFingerprint(b)
	if !ok {
		return nil, fmt.Errorf("cannot decode %s: no single-object header: %w", record, ErrInvalid)
	}
	body := b[headerSize:]
	if len(body) > maxBytes {
		return nil, fmt.Errorf("cannot decode %s: %d bytes of at most %d: %w", record, len(body), maxBytes, ErrTooLong)
	}
	return Resolve(writer, fingerprint, body)
}

// Resolve gives a record that was written with one released schema the layout
// of another version of it. It returns body itself where the two are the same.
// The errors are those of a decoder; an unknown fingerprint is ErrInvalid.
func Resolve(writer, reader uint64, body []byte) ([]byte, error) {
	if writer == reader {
		return body, nil
	}
	present, err := definition(reader)
	if err != nil {
		return nil, err
	}
	old, err := definition(writer)
	if err == nil && old.ShortName() != present.ShortName() {
		err = fmt.Errorf("it is a %s: %w", old.ShortName(), ErrInvalid)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot decode %s: %w", present.ShortName(), err)
	}
	return resolve(old, present, body)
}

// AppendRecord appends a message of a record that is encoded already, with the
// fingerprint of the schema that it was written with.
func AppendRecord(b []byte, fingerprint uint64, record []byte) []byte {
	return append(appendHeader(b, fingerprint), record...)
}

// messageEnd is err, or an error if a message of n bytes goes on after its
// record's end.
func messageEnd(record string, end, n int, err error) error {
	if err == nil && end != n {
		return fmt.Errorf("cannot decode %s: %d bytes after its end: %w", record, n-end, ErrInvalid)
	}
	return err
}

// AppendRowFrame appends a message of already encoded rows: the single-object
// header of a row frame's schema (EnrichedFrameFingerprint, ...), the header
// and the rows as one block. The rows must be encoded by that schema's writer.
func AppendRowFrame(b []byte, fingerprint uint64, header *RowHeader, rows [][]byte) []byte {
	b = header.AppendAvro(appendHeader(b, fingerprint))
	if len(rows) > 0 {
		b = appendLong(b, int64(len(rows)))
		for _, row := range rows {
			b = append(b, row...)
		}
	}
	return append(b, 0)
}
