package o2test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/klauspost/compress/s2"
)

// formatName is the stored name of a stream (contract §1.3, §12 row 47).
func formatName(name string) string {
	out := make([]byte, 0, len(name))
	odd := false
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == ':':
			out, odd = append(out, c), false
		case !odd:
			out, odd = append(out, '_'), true
		}
	}
	return string(out)
}

// counts is what the answer says of one stream.
type counts struct {
	Name       string `json:"name"`
	Successful int    `json:"successful"`
	Failed     int    `json:"failed"`
	Error      string `json:"error,omitempty"`
}

type ingestAnswer struct {
	Code   int      `json:"code"`
	Status []counts `json:"status"`
}

// ingestJSON takes an array of records, or one (contract §1.2).
func (q *request) ingestJSON() { q.ingest((*intake).array) }

// ingestMulti takes one record a line.
func (q *request) ingestMulti() { q.ingest((*intake).lines) }

// intake is what becomes of the records of one request for one stream.
type intake struct {
	*batch
	profile Profile
	counts
	crashed   bool
	notObject bool // and the version refuses the request for that
}

// ingest is _json and _multi.
func (q *request) ingest(parse func(*intake, []byte) error) {
	s := q.server
	key := streamKey{q.vars["org"], "logs", formatName(q.vars["stream"])}
	suffered := s.faults.ingestion(key.String(), s.now())
	body, ok := q.bodyUnder(suffered)
	if !ok {
		return
	}
	defer release(body)
	if key.name == "" {
		q.say(http.StatusBadRequest, "Error# Stream name is empty")
		return
	}
	in := &intake{batch: newBatch(s.rules(), s.schemaOf(key), body.Len()), profile: s.config.Profile, counts: counts{Name: key.name}}
	err := parse(in, body.Bytes())
	var syntax *syntaxError
	switch {
	case errors.As(err, &syntax):
		q.say(http.StatusBadRequest, "SerdeJsonError# "+err.Error())
		return
	case err != nil:
		q.say(http.StatusBadRequest, "Error# "+err.Error())
		return
	case in.notObject:
		q.say(http.StatusBadRequest, "Error# "+errNotObject.Error())
		return
	case in.crashed:
		crash()
	}
	in.Successful = q.store(key, in.batch, suffered)
	q.afterStore(suffered)
	q.answer(http.StatusOK, ingestAnswer{http.StatusOK, []counts{in.counts}})
}

// next takes one record.
func (in *intake) next(s *scanner) error {
	refused, err := in.add(s)
	switch {
	case err != nil:
		return err
	case errors.Is(refused, errCrash):
		in.crashed = true
	case errors.Is(refused, errNotObject) && in.profile == V060:
		in.notObject = true
	case refused != nil:
		in.Failed++
		in.Error = refused.Error()
	}
	return nil
}

func (in *intake) array(body []byte) error {
	s := &scanner{data: body}
	if !utf8.Valid(body) {
		return s.fail("invalid unicode code point")
	}
	if s.peek() != '[' {
		if err := in.next(s); err != nil {
			return err
		}
		return s.end()
	}
	s.pos++
	for first := true; ; first = false {
		more, err := s.element(first)
		if err != nil {
			return err
		}
		if !more {
			return s.end()
		}
		if err := in.next(s); err != nil {
			return err
		}
	}
}

func (in *intake) lines(body []byte) error {
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			return errors.New(`Failed processing: IoError(Error { kind: InvalidData, message: "stream did not contain valid UTF-8" })`) //nolint:staticcheck // the words of the server
		}
		s := &scanner{data: line}
		err := in.next(s)
		if err == nil {
			err = s.end()
		}
		var syntax *syntaxError
		if errors.As(err, &syntax) {
			return fmt.Errorf("Failed processing: JsonError(Error(%q, line: %d, column: %d))", syntax.text, syntax.line, syntax.column) //nolint:staticcheck // the words of the server
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bodyUnder reads the body of an ingestion request and lets it suffer what comes
// before its rows are looked at. When it is answered already, ok is false.
func (q *request) bodyUnder(b blow) (body *bytes.Buffer, ok bool) {
	if b.strike == strikeResetBeforeBody {
		q.reset()
	}
	if body, ok = q.body(); !ok {
		return nil, false
	}
	if !pause(q.r.Context(), b.delay) {
		crash() // the client has left, or the server was killed
	}
	switch b.strike {
	case strikeOverflow, strikeStorm, strikeMemoryBreaker, strikeDiskBreaker:
		q.say(http.StatusServiceUnavailable, overload(b.strike))
	case strikeNoIngester:
		q.text(http.StatusServiceUnavailable, "No online ingester nodes")
	case strikeBadGateway:
		q.text(http.StatusBadGateway, "Proxy request failed: error sending request")
	case strikeInternal:
		q.say(http.StatusInternalServerError, "Error# internal error")
	case strikeNotIngester:
		q.say(http.StatusBadRequest, "Error# not an ingester")
	case strikeBlocked:
		q.say(http.StatusBadRequest, "Error# Quota exceeded for this organization ["+q.vars["org"]+"]")
	case strikeDeleting:
		q.say(http.StatusBadRequest, "Error# stream ["+formatName(q.vars["stream"])+"] is being deleted")
	case strikeResetAfterBody:
		q.reset()
	default:
		return body, true
	}
	release(body)
	return nil, false
}

// overload is what the server says when it is under pressure (contract §12 rows
// 31 and 32); "" when it is not.
func overload(s strike) string {
	switch s {
	case strikeOverflow, strikeStorm:
		return "Error# MemoryTableOverflowError"
	case strikeMemoryBreaker:
		return "Error# MemoryCircuitBreakerError"
	case strikeDiskBreaker:
		return "Error# DiskCircuitBreakerError"
	}
	return ""
}

// afterStore lets a request suffer what comes after its rows were stored. When
// it returns, the request is to be answered.
func (q *request) afterStore(b blow) {
	if !pause(q.r.Context(), b.late) {
		crash()
	}
	if b.strike == strikeResetAfterStore {
		q.reset()
	}
}

// schemaOf is the schema of a stream, empty if there is no such stream.
func (s *Server) schemaOf(key streamKey) *schema {
	if st := s.stream(key); st != nil {
		return st.snapshot().schema
	}
	return noColumns
}

// lose drops some of the rows, at least one.
func (b *batch) lose(seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	kept := random.Perm(len(b.times))[:random.IntN(max(1, len(b.times)))]
	slices.Sort(kept)
	b.keep(func(row int) bool {
		_, found := slices.BinarySearch(kept, row)
		return found
	})
}

// stream is nil when there is none.
func (s *Server) stream(key streamKey) *stream {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.streams[key]
}

// store stores a batch and tells what the answer says how many rows it stored.
func (q *request) store(key streamKey, b *batch, suffered blow) (successful int) {
	s, n := q.server, len(b.times)
	switch suffered.strike {
	case strikeLoseAll:
		return 0
	case strikeDiskFull:
		return n
	case strikeLosePart:
		b.lose(suffered.seed)
		n = len(b.times)
	case strikeLosePartClaimed:
		b.lose(suffered.seed)
	}
	if len(b.times) == 0 {
		return n // and the stream is not made
	}
	packed := pack(b.rows)
	if b.union <= s.config.ColumnLimit {
		s.create(key)
	}
	if !s.commit(q.life, key, b, packed) {
		return 0
	}
	if s.config.OnIngest != nil {
		s.config.OnIngest(key.String(), len(b.times))
	}
	return n
}

// commit appends a batch to its stream, unless the server was killed meanwhile:
// nothing is stored after a kill.
func (s *Server) commit(l *life, key streamKey, b *batch, packed []byte) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if l.dead {
		crash()
	}
	st := s.streams[key]
	return st != nil && st.append(b, packed, s)
}

// create makes a stream, if it is not there.
func (s *Server) create(key streamKey) {
	if s.stream(key) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[key] == nil {
		s.streams[key] = newStream(key, s.now().UnixMicro())
	}
}

// pack compresses rows.
func pack(rows []byte) []byte {
	b := buffers.Get().(*bytes.Buffer)
	defer release(b)
	b.Reset()
	b.Grow(s2.MaxEncodedLen(len(rows)))
	return bytes.Clone(s2.Encode(b.AvailableBuffer()[:b.Available()], rows))
}
