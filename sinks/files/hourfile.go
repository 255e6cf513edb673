package files

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/flightlog/flightlog/schemas"
)

// openSuffix is what the name of a file has behind it while it is written.
const openSuffix = ".open"

// A block is packed when it holds so much, at the end of a message.
const blockBytes = 256 << 10

// hourFile is a file of an archive that is being written. What it says of
// itself is true of what was packed, and nothing more waits when a checkpoint is
// stored.
type hourFile struct {
	File
	Marker string `json:"marker"` // between blocks, hex

	file   *os.File
	sum    hash.Hash // of Bytes
	marker [syncSize]byte
	block  []byte
	count  int64 // rows in block
	dirty  bool  // not all is on disk
	// ended: it was written with another schema than this release's. Nothing is
	// added to it.
	ended bool
}

// create makes the file. A file of that name that is no file of the archive
// (it was begun and never stood) is written over.
func (f *hourFile) create(dir, installation string, generation int64) error {
	f.dir, f.sum, f.Schema = dir, sha256.New(), fmt.Sprintf("%016x", schemaOf(f.Topic))
	if _, err := os.Lstat(f.Path()); err == nil {
		return fmt.Errorf("there is a file %s that %s does not know of: move it away", f.Name, ArchiveName)
	}
	if _, err := rand.Read(f.marker[:]); err != nil {
		return err
	}
	f.Marker = hex.EncodeToString(f.marker[:])
	header, err := f.header(installation, generation)
	if err != nil {
		return err
	}
	if f.file, err = os.OpenFile(f.path(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return err
	}
	return f.write(header)
}

// header is the head of the container.
func (f *hourFile) header(installation string, generation int64) ([]byte, error) {
	schema, err := definitionOf(f.Topic, schemaOf(f.Topic))
	if err != nil {
		return nil, err
	}
	lane := f.Lane
	if lane == "" {
		lane = schemas.LaneNormal.String()
	}
	metadata := []metadatum{
		{metaSchema, string(schema)}, {metaCodec, codec},
		{metaTopic, f.Topic}, {metaPartition, fmt.Sprint(f.Partition)}, {metaLane, lane},
		{metaHour, f.Hour}, {metaPart, fmt.Sprint(f.Part)},
		{metaInstallation, installation}, {metaGeneration, fmt.Sprint(generation)},
		{metaFingerprint, f.Schema},
	}
	if prefix := framePrefix(f.Topic); prefix != nil {
		metadata = append(metadata, metadatum{metaFrame, hex.EncodeToString(prefix)})
	}
	return appendHeader(nil, metadata, f.marker), nil
}

// path is where the file lies while it is written.
func (f *hourFile) path() string { return f.Path() + openSuffix }

// reopen goes on with a file where its checkpoint stands.
func (f *hourFile) reopen(dir string) (err error) {
	f.dir = dir
	marker, err := hex.DecodeString(f.Marker)
	if err != nil || len(marker) != syncSize {
		return fmt.Errorf("%s: the marker of %s is %q", ArchiveName, f.Name, f.Marker)
	}
	copy(f.marker[:], marker)
	f.file, err = os.OpenFile(f.path(), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing, but its checkpoint says %d bytes: %w", f.Name+openSuffix, f.Bytes, err)
	}
	if err != nil {
		return err
	}
	f.sum = sha256.New()
	if err := f.File.verify(f.file, f.sum); err != nil {
		return err
	}
	if err := f.file.Truncate(f.Bytes); err != nil {
		return err
	}
	_, err = f.file.Seek(f.Bytes, io.SeekStart)
	f.ended = f.Schema != fmt.Sprintf("%016x", schemaOf(f.Topic))
	return err
}

// write appends bytes that stand for themselves.
func (f *hourFile) write(b []byte) error {
	f.dirty = true
	f.Bytes += int64(len(b))
	f.sum.Write(b)
	_, err := f.file.Write(b)
	return err
}

// add takes a message in.
func (f *hourFile) add(m *frame, p *packer) error {
	f.note(m)
	f.block = append(f.block, m.rows...)
	f.count += int64(m.count)
	f.dirty = true
	if len(f.block) < blockBytes {
		return nil
	}
	return f.pack(p)
}

// note takes a message into the account that the index gives.
func (f *hourFile) note(m *frame) {
	if f.Rows == 0 && m.count > 0 {
		f.FirstOccurredAt, f.LastOccurredAt = m.first, m.last
	}
	if m.count > 0 {
		f.FirstOccurredAt, f.LastOccurredAt = min(f.FirstOccurredAt, m.first), max(f.LastOccurredAt, m.last)
	}
	if f.FirstAppendedAt == 0 {
		f.FirstAppendedAt = m.appendedAt
	}
	f.FirstAppendedAt, f.LastAppendedAt = min(f.FirstAppendedAt, m.appendedAt), max(f.LastAppendedAt, m.appendedAt)
	f.Rows += int64(m.count)
	f.Unreadable += int64(m.unreadable)
	for _, org := range m.orgs {
		if i, found := slices.BinarySearch(f.Orgs, org); !found {
			f.Orgs = slices.Insert(f.Orgs, i, org)
		}
	}
	h := m.header
	if h.LastCommit == 0 {
		return
	}
	for i := range f.Commits {
		if c := &f.Commits[i]; sameSource(c, h) {
			c.Last = h.LastCommit
			return
		}
	}
	f.Commits = append(f.Commits, Commits{h.Processor, h.SourcePartition, h.Generation, h.FirstCommit, h.LastCommit})
}

// continues tells whether a message is of the commit that was last written of
// its source to this file.
func (f *hourFile) continues(h schemas.RowHeader) bool {
	return h.LastCommit > 0 && h.FirstCommit == h.LastCommit &&
		slices.ContainsFunc(f.Commits, func(c Commits) bool { return sameSource(&c, h) && c.Last == h.LastCommit })
}

// pack writes the block.
func (f *hourFile) pack(p *packer) error {
	if f.count == 0 {
		return nil
	}
	block, err := p.block(f.block, f.count, f.marker)
	if err == nil {
		err = f.write(block)
	}
	f.block, f.count = f.block[:0], 0
	return err
}

// sync returns once all rows are on disk, and says how it is.
func (f *hourFile) sync(p *packer) error {
	if !f.dirty {
		return nil
	}
	if err := f.pack(p); err != nil {
		return err
	}
	f.SHA256 = hex.EncodeToString(f.sum.Sum(nil))
	f.dirty = false
	return f.file.Sync()
}

// complete tells whether nothing belongs to the file any more: the log is
// written to the end of its hour, and every commit in it has come to its end,
// because the source has spoken again, or could have for long enough.
func (f *hourFile) complete(at *place) bool {
	if f.ended {
		return true
	}
	until := at.Archived.Until
	if end, err := time.Parse(HourLayout, f.Hour); err != nil || until < end.Add(time.Hour).UnixMicro() {
		return false
	}
	if until >= f.LastAppendedAt+settle.Microseconds() {
		return true
	}
	for _, c := range f.Commits {
		for _, s := range at.Sources {
			if s.Processor == c.Processor && s.Partition == c.Partition && s.Generation == c.Generation && s.Commit == c.Last {
				return false
			}
		}
	}
	return true
}
