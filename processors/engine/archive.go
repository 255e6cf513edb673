package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/schemas"
)

// What has come to rest leaves the state: its records go to the topic closed,
// as rows of the commit that deletes them, and a stub names them. When an
// event concerns them again the owner reads them back before it folds the
// event (a reload), and the state goes on as if they had never left (DESIGN
// §5).

// ErrArchived marks an event that concerns state whose archive has aged out.
// It becomes a dead letter with the reason "closed".
var ErrArchived = errors.New("its archive has aged out")

const (
	// stubPage begins the keys of pages of stubs. A page holds the stubs of
	// all ids that share their first 12 bits, so that many of them take little
	// more than their own bytes.
	stubPage = "\x01"
	stubSize = 32
	// stubAge is how long a stub is kept, µs.
	stubAge = 400 * 24 * 3600e6
	// restAgain is when a reloaded record that had a time to be looked at is
	// looked at, unless the processor says otherwise before, µs.
	restAgain = 24 * 3600e6
)

// stub says where an archive is: in the topic closed, said by commit closing
// and the ones after it, at about a time.
type stub struct {
	id      schemas.Id
	closing int64
	at      int64 // µs, whole seconds
	parts   uint32
}

func (s stub) append(b []byte) []byte {
	b = append(b, s.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.closing))
	b = binary.BigEndian.AppendUint32(b, uint32(s.at/1e6))
	return binary.BigEndian.AppendUint32(b, s.parts)
}

func readStub(b []byte) (s stub) {
	copy(s.id[:], b)
	s.closing = int64(binary.BigEndian.Uint64(b[16:]))
	s.at = int64(binary.BigEndian.Uint32(b[24:])) * 1e6
	s.parts = binary.BigEndian.Uint32(b[28:])
	return s
}

func stubPageOf(id schemas.Id) string { return string([]byte{stubPage[0], id[0], id[1] & 0xf0}) }

// findStub is where the stub of an id is in a page, or would be.
func findStub(page []byte, id schemas.Id) (at int, found bool) {
	i := sort.Search(len(page)/stubSize, func(i int) bool {
		return bytes.Compare(page[i*stubSize:i*stubSize+len(id)], id[:]) >= 0
	})
	at = i * stubSize
	return at, at < len(page) && bytes.Equal(page[at:at+len(id)], id[:])
}

// page is a page of stubs as the transaction has it.
func (tx *Tx) page(key string) []byte {
	if page, ok := tx.stubs[key]; ok {
		return page
	}
	return tx.state.records[key].value
}

func (tx *Tx) stubOf(id schemas.Id) (stub, bool) {
	page := tx.page(stubPageOf(id))
	if at, found := findStub(page, id); found {
		return readStub(page[at:]), true
	}
	return stub{}, false
}

// setStub changes, adds or (with nil) removes a stub.
func (tx *Tx) setStub(id schemas.Id, s *stub) {
	key := stubPageOf(id)
	old := tx.page(key)
	at, found := findStub(old, id)
	page := bytes.Clone(old[:at])
	if s != nil {
		page = s.append(page)
	}
	if found {
		at += stubSize
	}
	if tx.stubs == nil {
		tx.stubs = map[string][]byte{}
	}
	tx.stubs[key] = append(page, old[at:]...)
}

// expireStubs removes the stubs of a page whose time is over.
func (tx *Tx) expireStubs(key string) {
	page := tx.page(key)
	kept := []byte{}
	for ; len(page) >= stubSize; page = page[stubSize:] {
		if readStub(page).at+stubAge > tx.now {
			kept = append(kept, page[:stubSize]...)
		}
	}
	if tx.stubs == nil {
		tx.stubs = map[string][]byte{}
	}
	tx.stubs[key] = kept
}

// archive is the records that leave the state under one id in this commit.
type archive struct {
	id      schemas.Id
	payload []byte
}

// Archive moves a record out of the state, to come back with this value by a
// reload of id, with all that was archived under it. A due other than 0 makes
// it due a day after it came back. Archive in several commits where it is much
// (until tx.Full), and let nothing else happen to the records meanwhile.
// [Fold.Event] asks tx.Recall before it makes anything new under an id that
// may have been archived.
func (tx *Tx) Archive(id schemas.Id, key string, value []byte, due int64) {
	if n := len(tx.archives); n == 0 || tx.archives[n-1].id != id {
		tx.archives = append(tx.archives, &archive{id: id})
	}
	a := tx.archives[len(tx.archives)-1]
	a.payload = binary.AppendUvarint(a.payload, uint64(len(key)))
	a.payload = append(a.payload, key...)
	a.payload = binary.AppendUvarint(a.payload, uint64(len(value)))
	a.payload = append(a.payload, value...)
	a.payload = binary.AppendUvarint(a.payload, uint64(due))
	tx.size += len(key) + len(value)
	tx.Put(key, nil, 0)
}

// Archived is the first id after another under which something was archived at
// or after a time, µs.
func (tx *Tx) Archived(after schemas.Id, since int64) (id schemas.Id, ok bool) {
	for key := stubPageOf(after); ; {
		page := tx.page(key)
		for ; len(page) >= stubSize; page = page[stubSize:] {
			if s := readStub(page); bytes.Compare(s.id[:], after[:]) > 0 && s.at >= since {
				return s.id, true
			}
		}
		next := binary.BigEndian.Uint16([]byte(key[1:])) + 1<<4
		if next == 0 {
			return id, false
		}
		key = string(binary.BigEndian.AppendUint16([]byte(stubPage), next))
	}
}

// Recall is nil where nothing is archived under id. Else it is the error that
// Event or Due must return at once, with the overlay as it was: the engine reads
// the archive back and calls again. Where the archive has aged out it is
// ErrArchived, which of an event makes a dead letter.
func (tx *Tx) Recall(id schemas.Id) error {
	leaving := slices.ContainsFunc(tx.archives, func(a *archive) bool { return a.id == id })
	if _, away := tx.stubOf(id); !away && !leaving {
		return nil
	}
	if tx.gone[id] {
		return ErrArchived
	}
	return &recall{id}
}

type recall struct{ id schemas.Id }

func (r *recall) Error() string { return "archived, to be reloaded" }

// settleArchives turns archives into rows and stubs, and puts the pages of stubs that
// have changed. number is the commit's.
func (tx *Tx) settleArchives(number int64) {
	for _, a := range tx.archives {
		s, ok := tx.stubOf(a.id)
		if !ok {
			s = stub{id: a.id, closing: number}
		}
		row := schemas.Closed{Key: a.id[:], Closing: s.closing, Part: int64(s.parts), ClosedAt: tx.now, Payload: a.payload}
		s.at, s.parts = tx.now, s.parts+1
		tx.setStub(a.id, &s)
		tx.Emit(broker.Closed, row.AppendAvro(nil))
	}
	pages := make([]string, 0, len(tx.stubs))
	for key := range tx.stubs {
		pages = append(pages, key)
	}
	slices.Sort(pages)
	for _, key := range pages {
		page, due := tx.stubs[key], int64(0)
		for at := 0; at < len(page); at += stubSize {
			if expires := readStub(page[at:]).at + stubAge; due == 0 || expires < due {
				due = expires
			}
		}
		tx.Put(key, page, due)
	}
}

// part is a record of the topic closed and where it was found.
type part struct {
	row    schemas.Closed
	reload schemas.Reload
}

// records are the state records of a part.
func (p *part) records(each func(key string, value []byte, due int64)) error {
	b := p.row.Payload
	take := func() ([]byte, bool) {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return nil, false
		}
		v := b[w : w+int(n)]
		b = b[w+int(n):]
		return v, true
	}
	for len(b) > 0 {
		key, ok := take()
		value, ok2 := take()
		due, n := binary.Uvarint(b)
		if !ok || !ok2 || n <= 0 {
			return fmt.Errorf("archived record of %x is damaged", p.row.Key)
		}
		b = b[n:]
		each(string(key), bytes.Clone(value), int64(due))
	}
	return nil
}

// readPart makes a part of a row of the topic closed.
func readPart(row *schemas.Closed, position uint64, index int) part {
	encoded := row.AppendAvro(nil)
	return part{*row, schemas.Reload{Key: row.Key, Position: int64(position), Index: int64(index), Hash: sha256.Sum256(encoded)}}
}

// seekMargin is how far the clocks of the servers of a cluster may differ, µs.
const seekMargin = 60e6

// findParts reads an archive back; nil where it is gone.
func findParts(ctx context.Context, b broker.Broker, log broker.Log, processor string, s stub) ([]part, error) {
	end, err := b.End(ctx, log)
	if err != nil {
		return nil, err
	}
	// The stub's time is that of its last part: the first may lie before it.
	after, err := b.Seek(ctx, log, s.at-seekMargin)
	if err != nil {
		return nil, err
	}
	parts, err := scanParts(ctx, b, log, processor, after, end, s)
	if err == nil && len(parts) < int(s.parts) && after > 0 {
		parts, err = scanParts(ctx, b, log, processor, 0, end, s)
	}
	if err != nil || len(parts) < int(s.parts) {
		return nil, err
	}
	return parts, nil
}

func scanParts(ctx context.Context, b broker.Broker, log broker.Log, processor string, after, end uint64, s stub) ([]part, error) {
	if end == 0 || after >= end {
		return nil, nil
	}
	r, err := b.Read(ctx, log, after)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var parts []part
	for len(parts) < int(s.parts) {
		m, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		var frame schemas.ClosedFrame
		if err := frame.DecodeMessage(m.Payload); err != nil {
			return nil, fmt.Errorf("cannot read %s/%d at %d: %w", log.Topic, log.Partition, m.Position, err)
		}
		for i := range frame.Rows {
			row := &frame.Rows[i]
			if frame.Header.Processor != processor { // each has a time of its own
				continue
			}
			if row.ClosedAt/1e6 > s.at/1e6 {
				return parts, nil // rows stand in order of the fold's time: what is missing is gone
			}
			if bytes.Equal(row.Key, s.id[:]) && row.Closing == s.closing && row.Part == int64(len(parts)) {
				parts = append(parts, readPart(row, m.Position, i))
			}
		}
		if m.Position >= end {
			break
		}
	}
	return parts, nil
}
