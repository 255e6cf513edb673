package o2test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Faults are what goes wrong on purpose. The probabilities from Overflow to
// LosePartClaimed are per ingestion request; at most one of them strikes a
// request, so that their sum should not exceed 1.
type Faults struct {
	Seed uint64 // of the draws; they begin anew when faults are set
	// Stream restricts all that concerns ingestion to requests for this stream
	// (by its stored name, see [Server.Stored]). Requests of _bulk and _hec name
	// their streams in the body only: they are struck when Stream is empty.
	Stream string

	Overflow      float64 // 503 MemoryTableOverflowError (contract §12 row 31)
	MemoryBreaker float64 // 503 MemoryCircuitBreakerError (row 32)
	DiskBreaker   float64 // 503 DiskCircuitBreakerError (row 32)
	NoIngester    float64 // 503 of a router, text (row 78)
	BadGateway    float64 // 502 of a router, text (row 79); nothing is stored
	Internal      float64 // 500; nothing is stored

	ResetBeforeBody float64 // the connection is reset before the body was read
	ResetAfterBody  float64 // ... after it was read; nothing is stored
	ResetAfterStore float64 // ... after its rows were stored (row 75)

	LoseAll         float64 // 200 with counts 0/0, nothing is stored (row 29)
	LosePart        float64 // 200, some rows are neither stored nor counted
	LosePartClaimed float64 // 200 with counts of all, some rows are not stored (row 30)

	// Delay passes before a request is stored. A client that leaves meanwhile
	// takes its request with it. Late passes between storing and the answer.
	Delay, Late Span

	DiskFull    bool // nothing is stored, all answers claim that it was (row 30)
	Deleting    bool // 400: the stream is being deleted (row 33)
	Blocked     bool // 400: the organisation has no quota (row 34)
	NotIngester bool // 400: this node is none (row 35)
	// BulkOverflow: the memtable is full when the second stream of a _bulk
	// request is to be stored (row 58).
	BulkOverflow bool

	SearchError float64 // 500, per search
	SearchDelay Span
	// Invisible is how long a row that was stored is not found (row 77).
	Invisible time.Duration
}

// Span is a time between two bounds.
type Span struct{ Min, Max time.Duration }

// strike is what goes wrong with one request.
type strike string

const (
	strikeNone            strike = ""
	strikeOverflow        strike = "Overflow"
	strikeMemoryBreaker   strike = "MemoryBreaker"
	strikeDiskBreaker     strike = "DiskBreaker"
	strikeNoIngester      strike = "NoIngester"
	strikeBadGateway      strike = "BadGateway"
	strikeInternal        strike = "Internal"
	strikeResetBeforeBody strike = "ResetBeforeBody"
	strikeResetAfterBody  strike = "ResetAfterBody"
	strikeResetAfterStore strike = "ResetAfterStore"
	strikeLoseAll         strike = "LoseAll"
	strikeLosePart        strike = "LosePart"
	strikeLosePartClaimed strike = "LosePartClaimed"
	strikeDiskFull        strike = "DiskFull"
	strikeDeleting        strike = "Deleting"
	strikeBlocked         strike = "Blocked"
	strikeNotIngester     strike = "NotIngester"
	strikeStorm           strike = "Storm"
	strikeSearchError     strike = "SearchError"
)

// faults deals them out.
type faults struct {
	mu       sync.Mutex
	set      Faults
	random   *rand.Rand
	storm    time.Time // its end
	injected map[string]int
}

func newFaults(f Faults) *faults {
	all := &faults{injected: map[string]int{}}
	all.replace(f)
	return all
}

func (f *faults) replace(set Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = set
	f.random = rand.New(rand.NewPCG(set.Seed, 0))
}

// blow is what an ingestion request has to suffer.
type blow struct {
	strike      strike
	delay, late time.Duration
	seed        uint64 // which part of the rows is lost
}

// ingestion draws for a request; stream is empty when only its body tells.
func (f *faults) ingestion(stream string, now time.Time) blow {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.set.Stream != "" && f.set.Stream != stream {
		return blow{}
	}
	b := blow{delay: f.within(f.set.Delay), late: f.within(f.set.Late), seed: f.random.Uint64()}
	b.strike = f.draw()
	switch {
	case now.Before(f.storm):
		b.strike = strikeStorm
	case f.set.NotIngester:
		b.strike = strikeNotIngester
	case f.set.Blocked:
		b.strike = strikeBlocked
	case f.set.Deleting && stream != "":
		b.strike = strikeDeleting
	case b.strike == strikeNone && f.set.DiskFull:
		b.strike = strikeDiskFull
	}
	if b.strike != strikeNone {
		f.injected[string(b.strike)]++
	}
	if b.delay > 0 {
		f.injected["Delay"]++
	}
	if b.late > 0 {
		f.injected["Late"]++
	}
	return b
}

// draw picks at most one of the faults that have a probability.
func (f *faults) draw() strike {
	set, at := &f.set, f.random.Float64()
	for _, s := range []struct {
		strike      strike
		probability float64
	}{
		{strikeOverflow, set.Overflow},
		{strikeMemoryBreaker, set.MemoryBreaker},
		{strikeDiskBreaker, set.DiskBreaker},
		{strikeNoIngester, set.NoIngester},
		{strikeBadGateway, set.BadGateway},
		{strikeInternal, set.Internal},
		{strikeResetBeforeBody, set.ResetBeforeBody},
		{strikeResetAfterBody, set.ResetAfterBody},
		{strikeResetAfterStore, set.ResetAfterStore},
		{strikeLoseAll, set.LoseAll},
		{strikeLosePart, set.LosePart},
		{strikeLosePartClaimed, set.LosePartClaimed},
	} {
		if at -= s.probability; at < 0 {
			return s.strike
		}
	}
	return strikeNone
}

// search draws for a search.
func (f *faults) search() blow {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := blow{delay: f.within(f.set.SearchDelay)}
	if f.random.Float64() < f.set.SearchError {
		b.strike = strikeSearchError
		f.injected[string(b.strike)]++
	}
	if b.delay > 0 {
		f.injected["SearchDelay"]++
	}
	return b
}

func (f *faults) within(s Span) time.Duration {
	if s.Max <= s.Min {
		return s.Min
	}
	return s.Min + time.Duration(f.random.Int64N(int64(s.Max-s.Min)))
}

func (f *faults) bulkOverflow() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.set.BulkOverflow
}

// invisible is how long rows are not found yet.
func (f *faults) invisible() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.set.Invisible
}

// pause waits and tells whether the request is still wanted.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
