package openobserve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/sinks/delivery"
)

// Reasons of dead letters.
const (
	// OutsideWindow: the row lies further back, or ahead, than the server takes
	// rows. 'flightlog deadletters redrive' loads it once the window is raised.
	OutsideWindow = "outside_window"
	// RefusedRow: the server refuses the row for what it is.
	RefusedRow = "refused"
)

// aroundEdge is how near to the edge of the window a row lies that the server
// may have refused for its time: clocks differ.
const aroundEdge = 10 * time.Minute

// afterQuota is how long to wait for an organisation that has no quota left.
const afterQuota = time.Minute

// mostRetryAfter bounds what a proxy may ask for.
const mostRetryAfter = 5 * time.Minute

// counts is the answer of _json.
type counts struct {
	Status []struct {
		Successful int    `json:"successful"`
		Failed     int    `json:"failed"`
		Error      string `json:"error"`
	} `json:"status"`
}

// classify says what an answer to so many rows of _json comes to, sent in an
// encoding. It is the table of the contract, §13.3. What is not the server's own
// answer (a proxy's) is doubtful.
func (s *Sink) classify(a *answer, rows int, encoding string) delivery.Outcome {
	text := string(a.body)
	out := delivery.Outcome{RetryAfter: retryAfter(a.header), Err: a.err()}
	has := func(words string) bool { return strings.Contains(text, words) }
	own := gjson.ValidBytes(a.body) && gjson.GetBytes(a.body, "code").Int() == int64(a.status)
	switch status := a.status; {
	case status == http.StatusOK:
		return s.counted(a, rows)
	case status/100 == 2: // not from this server
		out.Class = delivery.Doubtful
	case status == http.StatusBadRequest && (has("is being deleted") || has("not an ingester")):
		out.Class = delivery.Untouched
	case status == http.StatusBadRequest && has("Quota exceeded"):
		out.Class, out.RetryAfter = delivery.Untouched, max(out.RetryAfter, afterQuota)
	case status == http.StatusBadRequest && (own || strings.HasPrefix(text, "Failed to buffer the request body")):
		out.Class, out.Reason = delivery.Refused, RefusedRow
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity:
		out.Class = delivery.Doubtful
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		out.Class, out.Overloaded = delivery.Untouched, status == http.StatusTooManyRequests
	case status == http.StatusRequestEntityTooLarge:
		out.Class = delivery.TooLarge
	case status == http.StatusUnsupportedMediaType && encoding != "":
		out.Class = delivery.Untouched
		s.identity.Store(true)
	case status == http.StatusServiceUnavailable && (own && (has("OverflowError") || has("CircuitBreakerError")) || has("No online ingester nodes")):
		out.Class, out.Overloaded = delivery.Untouched, true
	case status/100 == 5: // a proxy's, or half of the work was done
		out.Class, out.Overloaded = delivery.Doubtful, status == http.StatusServiceUnavailable
	default: // credentials, organisation, address
		out.Class = delivery.Impossible
		if status == http.StatusUnauthorized || status == http.StatusForbidden {
			out.Err = fmt.Errorf("the account %s, that rows are sent with, is refused: %w", s.client.config.Loading.User, out.Err)
		}
	}
	return out
}

// counted reads an answer 200, which never means that all is stored.
func (s *Sink) counted(a *answer, rows int) delivery.Outcome {
	var c counts
	if err := json.Unmarshal(a.body, &c); err != nil || len(c.Status) != 1 {
		return delivery.Outcome{Class: delivery.Doubtful, Err: fmt.Errorf("an answer 200 that is not OpenObserve's (a proxy's?): %.200q", a.body)}
	}
	got := c.Status[0]
	said := fmt.Errorf("of %d rows %d were stored and %d refused: %s", rows, got.Successful, got.Failed, got.Error)
	switch {
	case got.Successful == rows && got.Failed == 0:
		return delivery.Outcome{Class: delivery.Stored}
	case strings.HasPrefix(got.Error, "Pipeline batch execution error"):
		return delivery.Outcome{Class: delivery.Untouched, Err: fmt.Errorf("a pipeline stands on the stream, remove it: %w", said)}
	case got.Successful > rows && got.Failed == 0:
		return delivery.Outcome{Class: delivery.Stored, Err: fmt.Errorf("a pipeline stands on the stream, remove it: %w", said)}
	case got.Failed == 0, got.Successful+got.Failed != rows:
		return delivery.Outcome{Class: delivery.Silent, Err: said}
	}
	out := delivery.Outcome{Class: delivery.Partial, Failed: got.Failed, Reason: RefusedRow, Err: said}
	switch {
	case strings.HasPrefix(got.Error, tooOld):
		edge := s.now().Add(-s.Window().Back + aroundEdge).UnixMicro()
		out.Reason, out.Offends = OutsideWindow, func(at int64) bool { return at < edge }
	case strings.HasPrefix(got.Error, tooFar):
		edge := s.now().Add(s.Window().Ahead - aroundEdge).UnixMicro()
		out.Reason, out.Offends = OutsideWindow, func(at int64) bool { return at > edge }
	}
	return out
}

// unanswered says what a request comes to that had no answer.
func unanswered(err error) delivery.Outcome {
	var send *sendError
	if errors.As(err, &send) && !send.sent {
		return delivery.Outcome{Class: delivery.Untouched, Err: err}
	}
	timeout := isTimeout(err)
	return delivery.Outcome{Class: delivery.Doubtful, Broken: !timeout, Overloaded: timeout, Err: err}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// retryAfter is what a proxy asks for; the server itself asks for nothing.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, mostRetryAfter)
}
