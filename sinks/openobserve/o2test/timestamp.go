package o2test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/mail"
	"strconv"
	"strings"
	"time"
)

// An integer beyond a limit is in the next finer unit (contract §1.4).
const (
	secondLimit = 31_536_000_000
	milliLimit  = 31_536_000_000_000
	microLimit  = 31_536_000_000_000_000
)

var errTimestamp = errors.New("Can't parse timestamp") //nolint:staticcheck // the words of the server

// rules are what the records of one request are judged by: the clock is read
// once per request.
type rules struct {
	profile        Profile
	now            int64 // µs
	oldest, newest int64 // µs
	tooOld, tooFar error
	nullTime       error // what a time that is null leads to; nil = the receive time
}

func (s *Server) rules() *rules {
	now := s.now()
	return &rules{
		profile: s.config.Profile,
		now:     now.UnixMicro(),
		oldest:  now.Add(-time.Duration(s.config.AllowedUpTo) * time.Hour).UnixMicro(),
		newest:  now.Add(time.Duration(s.config.AllowedInFuture) * time.Hour).UnixMicro(),
		tooOld:  s.tooOld,
		tooFar:  s.tooFar,
	}
}

func errTooOld(hours int) error {
	return fmt.Errorf("Too old data, only last %d hours data can be ingested. Data discarded. You can adjust ingestion max time by setting the environment variable ZO_INGEST_ALLOWED_UPTO=<max_hours>", hours) //nolint:staticcheck // the words of the server
}

func errTooFar(hours int) error {
	return fmt.Errorf("Too far data, only future %d hours data can be ingested. Data discarded. You can adjust ingestion max time by setting the environment variable ZO_INGEST_ALLOWED_IN_FUTURE=<max_hours>", hours) //nolint:staticcheck // the words of the server
}

// window refuses what is older or newer than the server takes (contract §12
// rows 4 to 8).
func (r *rules) window(at int64) error {
	switch {
	case at < r.oldest:
		return r.tooOld
	case at > r.newest:
		return r.tooFar
	}
	return nil
}

// micros is the time of a record in µs, from whatever stands in _timestamp
// (contract §1.4); absent tells that nothing does.
func (r *rules) micros(value any, absent bool) (int64, error) {
	if value == nil {
		if !absent && r.nullTime != nil {
			return 0, r.nullTime
		}
		return r.now, nil
	}
	var at int64
	switch v := value.(type) {
	case json.Number:
		n, err := parseNumber(string(v))
		if err != nil {
			return 0, errTimestamp
		}
		at = r.scale(n)
	case string:
		if n, err := parseNumber(v); err == nil {
			at = r.scale(n)
		} else if at, err = parseTime(v); err != nil {
			return 0, errTimestamp
		}
	default:
		return 0, errTimestamp
	}
	return at, r.window(at)
}

// parseNumber cuts fractions off.
func parseNumber(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	if strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, errTimestamp // no NaN, no hexadecimal
	}
	f, err := strconv.ParseFloat(text, 64)
	return int64(f), err
}

// scale makes µs of an integer, whose unit is told by its size.
func (r *rules) scale(n int64) int64 {
	switch {
	case n == 0:
		return r.now
	case n > microLimit:
		return n / 1000
	case n > milliLimit:
		return n
	case n > secondLimit:
		return n * 1000
	case n < math.MinInt64/1_000_000:
		return math.MinInt64
	}
	return n * 1_000_000
}

func parseTime(text string) (int64, error) {
	layout := time.RFC3339Nano
	switch n := len(text); {
	case n == 19 && text[10] == ' ':
		layout = time.DateTime
	case (n == 19 || n == 23 || n == 26) && !strings.ContainsAny(text[19:], "Z+-"):
		layout = "2006-01-02T15:04:05"
	}
	at, err := time.Parse(layout, text)
	if err != nil {
		at, err = mail.ParseDate(text)
	}
	return at.UnixMicro(), err
}
