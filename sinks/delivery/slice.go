package delivery

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// A slice is cut when one of its batches has grown so large, or all of them
// together (contract openobserve §13.2).
const (
	batchRows  = 5000
	batchBytes = 4 << 20
	sliceRows  = 10000
	sliceBytes = 8 << 20
)

const hour = 3600 * 1_000_000 // µs

// slice is a stretch of a log that is loaded as a whole.
type slice struct {
	log         broker.Log
	first, last uint64    // positions of the first and the last message
	check       uint32    // checksum of the last message
	sum         uint32    // of the checksums of all
	appendedAt  int64     // of the last message
	batches     []*Batch  // by hour
	messages    []message // that the rows stand in
	rows, bytes int
	full        bool
	// again: it was cut before, by a worker that may have sent it.
	again bool
	done  bool // every row is stored, or a dead letter
}

// message is one message of a slice.
type message struct {
	position uint64
	payload  []byte
}

// Batch is the rows of one stretch of a log in one UTC hour. It is the same
// whoever makes it.
type Batch struct {
	// ID names the batch: 32 hex digits.
	ID    string
	Topic string
	// Lane and Partition of the topic.
	Lane      schemas.Lane
	Partition int
	// Scattered: its rows may have come in other batches, and are to be looked
	// for one by one.
	Scattered bool

	hour int64
	rows []batchRow
	data []byte
}

// batchRow is a row of a batch as its destination wrote it.
type batchRow struct {
	id         schemas.Id
	at         int64
	start, end int
	message    int // of the slice
	index      int // in that message
}

// Len is the number of rows.
func (b *Batch) Len() int { return len(b.rows) }

// Row is what AppendRow has written of a row.
func (b *Batch) Row(i int) []byte { return b.data[b.rows[i].start:b.rows[i].end] }

// RowID names a row.
func (b *Batch) RowID(i int) schemas.Id { return b.rows[i].id }

// Distinct is the number of rows with different ids: a topic may hold a row
// twice.
func (b *Batch) Distinct() int {
	ids := make(map[schemas.Id]struct{}, len(b.rows))
	for _, r := range b.rows {
		ids[r.id] = struct{}{}
	}
	return len(ids)
}

// Span is the first and the last time of the rows, in µs.
func (b *Batch) Span() (first, last int64) {
	first, last = b.rows[0].at, b.rows[0].at
	for _, r := range b.rows {
		first, last = min(first, r.at), max(last, r.at)
	}
	return first, last
}

// all is the index of every row.
func (b *Batch) all() []int {
	rows := make([]int, len(b.rows))
	for i := range rows {
		rows[i] = i
	}
	return rows
}

// add takes the rows of a message in.
func (s *slice) add(d Destination, m broker.Message, checksum uint32, rows []Row) {
	if s.first == 0 {
		s.first = m.Position
	}
	s.last, s.appendedAt, s.check = m.Position, m.AppendedAt, checksum
	s.sum = crc32.Update(s.sum, castagnoli, binary.BigEndian.AppendUint32(nil, checksum))
	if len(rows) == 0 {
		return
	}
	s.messages = append(s.messages, message{m.Position, m.Payload})
	s.bytes += len(m.Payload)
	for i := range rows {
		s.put(d, &rows[i], i)
	}
}

// put takes the i-th row of the last message in.
func (s *slice) put(d Destination, row *Row, i int) {
	b := s.batch(row.At - modulo(row.At, hour))
	start := len(b.data)
	b.data = d.AppendRow(b.data, s.log.Topic, row)
	b.rows = append(b.rows, batchRow{row.ID, row.At, start, len(b.data), len(s.messages) - 1, i})
	s.rows++
	s.bytes += len(b.data) - start
	s.full = s.full || len(b.rows) >= batchRows || len(b.data) >= batchBytes || s.rows >= sliceRows || s.bytes >= sliceBytes
}

// batches holds what batches that are done have grown to.
var batches = sync.Pool{New: func() any { return new(Batch) }}

// free gives the memory of the batches back; nobody uses them any more.
func (s *slice) free() {
	for _, b := range s.batches {
		batches.Put(b)
	}
	s.batches, s.messages = nil, nil
}

// modulo is at mod n, for times before 1970 too.
func modulo(at, n int64) int64 { return ((at % n) + n) % n }

func (s *slice) batch(hour int64) *Batch {
	i, found := slices.BinarySearchFunc(s.batches, hour, func(b *Batch, hour int64) int { return cmp.Compare(b.hour, hour) })
	if !found {
		b := batches.Get().(*Batch)
		*b = Batch{Topic: s.log.Topic, Lane: s.log.Lane, Partition: s.log.Partition, hour: hour, rows: b.rows[:0], data: b.data[:0]}
		s.batches = slices.Insert(s.batches, i, b)
	}
	return s.batches[i]
}

// seal names the batches: H(installation, log, first and last position, checksum
// of the messages, hour). Another log that holds other messages at the same
// positions makes other batches.
func (s *slice) seal(installation string) {
	for _, b := range s.batches {
		h := sha256.New()
		for _, text := range []string{installation, s.log.Topic, s.log.Lane.String()} {
			_ = binary.Write(h, binary.BigEndian, uint32(len(text)))
			h.Write([]byte(text))
		}
		_ = binary.Write(h, binary.BigEndian, []uint64{uint64(s.log.Partition), s.first, s.last, uint64(s.sum), uint64(b.hour)})
		b.ID = hex.EncodeToString(h.Sum(nil)[:16])
	}
}
