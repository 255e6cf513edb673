package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/flightlog/flightlog/schemas"
)

// AppendCommit appends c as a message that stands behind the commit with hash
// previous (zeros for the first one). It fills c.PreviousHash and c.Hash.
//
// The hash is the SHA-256 of the encoded record with the hash's own bytes as
// zeros. It is taken over the bytes as they are stored, so that it can be
// checked whatever schema wrote them.
func AppendCommit(b []byte, c *schemas.Commit, previous schemas.Hash) []byte {
	c.PreviousHash, c.Hash = previous, schemas.Hash{}
	start := len(b)
	b = c.AppendMessage(b)
	record := b[start+headerSize:]
	at, _ := hashOffset(record)
	c.Hash = sha256.Sum256(record)
	copy(record[at:], c.Hash[:])
	return b
}

// DecodeCommit reads a message that AppendCommit made; ErrLost if its hash does
// not fit its bytes.
func DecodeCommit(message []byte) (*schemas.Commit, error) {
	c := new(schemas.Commit)
	if err := c.DecodeMessage(message); err != nil {
		return nil, fmt.Errorf("cannot read commit: %w: %w", err, ErrLost)
	}
	record := message[headerSize:]
	at, ok := hashOffset(record)
	if !ok {
		return nil, fmt.Errorf("cannot read commit %d: no hash: %w", c.CommitNumber, ErrLost)
	}
	sum := sha256.New()
	sum.Write(record[:at])
	sum.Write(make([]byte, len(c.Hash)))
	sum.Write(record[at+len(c.Hash):])
	if schemas.Hash(sum.Sum(nil)) != c.Hash {
		return nil, fmt.Errorf("cannot read commit %d: hash does not fit: %w", c.CommitNumber, ErrLost)
	}
	return c, nil
}

// Follows checks that c is the commit right after previous (nil = c is the
// first of its partition); ErrLost if not.
func Follows(previous, c *schemas.Commit) error {
	if previous == nil {
		previous = &schemas.Commit{}
	}
	switch {
	case c.CommitNumber != previous.CommitNumber+1:
		return fmt.Errorf("commit %d follows %d: %w", c.CommitNumber, previous.CommitNumber, ErrLost)
	case c.PreviousHash != previous.Hash:
		return fmt.Errorf("commit %d does not name the hash of the one before: %w", c.CommitNumber, ErrLost)
	case c.Epoch < previous.Epoch:
		return fmt.Errorf("commit %d has epoch %d after %d: %w", c.CommitNumber, c.Epoch, previous.Epoch, ErrLost)
	}
	return nil
}

// headerSize is the length of a single-object header (Avro specification,
// "Single-object encoding").
const headerSize = 10

// hashOffset is the place of the field hash in an encoded Commit. The fields up
// to it (processor, partition, generation, commit_number, epoch, owner,
// previous_hash) are the same in every version of the schema.
func hashOffset(record []byte) (int, bool) {
	at := 0
	long := func() int64 {
		v, n := binary.Varint(record[at:])
		if n <= 0 {
			at = len(record)
			return 0
		}
		at += n
		return v
	}
	text := func() {
		if n := long(); n < 0 || n > int64(len(record)-at) {
			at = len(record)
		} else {
			at += int(n)
		}
	}
	text()
	for range 4 {
		long()
	}
	text()
	at += len(schemas.Hash{})
	return at, at+len(schemas.Hash{}) <= len(record)
}
