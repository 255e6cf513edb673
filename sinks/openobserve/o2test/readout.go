package o2test

import (
	"bytes"
	"iter"
	"maps"
	"slices"
)

// Stored gives every row that is stored of a stream, in order and with its
// duplicates, as the JSON that it was flattened to. Values have the types that
// they were sent with; a search shows them in those of their columns. The stream
// is named "stream", "org/stream" or "org/type/stream", by the name that it is
// stored under. What is stored while one reads is not given.
func (s *Server) Stored(stream string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, b := range s.blocks(stream) {
			for line := range bytes.Lines(b.lines()) {
				if !yield(line[:len(line)-1]) {
					return
				}
			}
		}
	}
}

func (s *Server) blocks(stream string) []block {
	if st := s.stream(streamName(stream)); st != nil {
		return st.snapshot().blocks
	}
	return nil
}

// Count is how many rows are stored of a stream.
func (s *Server) Count(stream string) int {
	if st := s.stream(streamName(stream)); st != nil {
		return st.snapshot().rows
	}
	return 0
}

// Streams are the names of all streams, as [Server.Stored] takes them.
func (s *Server) Streams() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for key := range maps.Keys(s.streams) {
		names = append(names, key.String())
	}
	return slices.Sorted(slices.Values(names))
}

// stored is GET /__stored?stream=s: the same as NDJSON, without credentials.
func (q *request) stored() {
	q.w.Header().Set("Content-Type", "application/x-ndjson")
	for _, b := range q.server.blocks(q.param("stream")) {
		if _, err := q.w.Write(b.lines()); err != nil {
			return
		}
	}
}
