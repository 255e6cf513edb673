package o2test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// encoding is the Content-Encoding of a request. The server takes the header of
// snappy away and hands the bytes on as they are (contract §12 row 40).
func (q *request) encoding() string {
	e := strings.ToLower(strings.TrimSpace(q.r.Header.Get("Content-Encoding")))
	if e == "identity" || e == "snappy" {
		return ""
	}
	return e
}

// encodingKnown answers 415 when the encoding of the body is none that the
// server takes (contract §12 row 39).
func (q *request) encodingKnown() bool {
	accepted := "gzip,deflate,br"
	switch e := q.encoding(); {
	case e == "" || e == "gzip" || e == "deflate" || e == "br":
		return true
	case q.server.config.Profile == V093:
		if accepted += ",zstd"; e == "zstd" {
			return true
		}
	}
	q.w.Header().Set("Accept-Encoding", accepted)
	q.w.WriteHeader(http.StatusUnsupportedMediaType)
	return false
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keptBuffer is the largest buffer that is kept for the next request.
const keptBuffer = 16 << 20

func release(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		buffers.Put(b)
	}
}

// body reads the body of a request, decompressed. When it cannot be had, it is
// answered as the framework does (contract §12 rows 36 and 38), and ok is false.
// A body over the limit that is not compressed breaks the connection instead,
// as seen (contract §0.0). The buffer is to be released.
func (q *request) body() (b *bytes.Buffer, ok bool) {
	b = buffers.Get().(*bytes.Buffer)
	b.Reset()
	limit := q.server.config.PayloadLimit
	encoding := q.encoding()
	if n := q.r.ContentLength; encoding == "" && n > 0 && n <= limit {
		b.Grow(int(n) + bytes.MinRead)
	}
	if encoding == "br" {
		q.text(http.StatusNotImplemented, "o2test does not decode br")
		return nil, false
	}
	from, done, err := decoder(encoding, q.r.Body)
	if err == nil {
		_, err = b.ReadFrom(io.LimitReader(from, limit+1))
		done()
	}
	switch {
	case err == nil && int64(b.Len()) <= limit:
		return b, true
	case encoding == "":
		q.reset()
	case err == nil:
		q.text(http.StatusRequestEntityTooLarge, "Failed to buffer the request body: length limit exceeded")
	case errors.Is(err, gzip.ErrHeader):
		q.text(http.StatusBadRequest, "Failed to buffer the request body: Invalid gzip header")
	default:
		q.text(http.StatusBadRequest, fmt.Sprintf("Failed to buffer the request body: %v", err))
	}
	release(b)
	return nil, false
}

var gzips sync.Pool

// decoder gives the reader of an encoding, and what to do when it was read.
func decoder(encoding string, body io.Reader) (io.Reader, func(), error) {
	switch encoding {
	case "gzip":
		if z, ok := gzips.Get().(*gzip.Reader); ok {
			return z, func() { gzips.Put(z) }, z.Reset(body)
		}
		z, err := gzip.NewReader(body)
		return z, func() { gzips.Put(z) }, err
	case "deflate":
		z, err := zlib.NewReader(body)
		return z, func() {}, err
	case "zstd":
		z, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1))
		return z, z.Close, err
	}
	return body, func() {}, nil
}
