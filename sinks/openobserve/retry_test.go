package openobserve_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/sinks/openobserve"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// answers gives the first attempts an answer and stores nothing of them.
func answers(times, status int, contentType, body string) front {
	return func(a *attempt) {
		if a.n > times {
			a.forward(a.rows...)
			return
		}
		a.Header().Set("Content-Type", contentType)
		a.WriteHeader(status)
		fmt.Fprint(a, body)
	}
}

// said is an answer 200 of _json.
func said(successful, failed int, words string) string {
	status := map[string]any{"name": "flightlog_enriched", "successful": successful, "failed": failed}
	if words != "" {
		status["error"] = words
	}
	text, _ := json.Marshal(map[string]any{"code": 200, "status": []any{status}})
	return string(text)
}

func message(code int, words string) string {
	text, _ := json.Marshal(map[string]any{"code": code, "message": words})
	return string(text)
}

const (
	textJSON  = "application/json"
	textPlain = "text/plain; charset=utf-8"
)

// poisoned answers as the server does when a row is among the others.
func poisoned(id string, reply front) front {
	return func(a *attempt) {
		if slices.ContainsFunc(a.rows, func(r gjson.Result) bool { return r.Get("row_id").Str == id }) {
			reply(a)
			return
		}
		a.forward(a.rows...)
	}
}

func without(rows []gjson.Result, id string) []gjson.Result {
	return slices.DeleteFunc(slices.Clone(rows), func(r gjson.Result) bool { return r.Get("row_id").Str == id })
}

func abort(*attempt) { panic(http.ErrAbortHandler) }

// TestEveryOutcomeOfTheRetryTable goes through the contract, §13.3, with the
// stand-in behind a front that gives the outcome.
func TestEveryOutcomeOfTheRetryTable(t *testing.T) {
	const rows = 8
	bad := id(3).String()
	for _, test := range []struct {
		outcome  string
		config   o2test.Config
		faults   o2test.Faults
		front    front
		meddle   func(w *world) // once the sink runs
		rows     int
		letters  map[string]int
		attempts int // 0 = any number
		twice    int
	}{
		{outcome: "200 and all stored", attempts: 1},
		{outcome: "200 and failed, a value that does not parse", front: poisoned(bad, func(a *attempt) {
			a.store(without(a.rows, bad)...)
			fmt.Fprint(a, said(len(a.rows)-1, 1, "Can't parse timestamp"))
		}), letters: map[string]int{"refused": 1}, attempts: 1},
		{outcome: "200 and failed, a server-side pipeline that fails", front: answers(2, 200, textJSON, said(0, rows, "Pipeline batch execution error: x")), attempts: 3},
		{outcome: "200 and fewer counted than sent, none stored", front: answers(1, 200, textJSON, said(0, 0, "")), attempts: 2},
		{outcome: "200 and fewer counted than sent, some stored", faults: o2test.Faults{Seed: 1, LosePart: 0.5}},
		{outcome: "200 and fewer counted for ever", front: answers(1000, 200, textJSON, said(0, 0, "")), letters: map[string]int{"silently_dropped": rows}, attempts: 5},
		{outcome: "200 and more counted than sent, by a pipeline", front: func(a *attempt) {
			a.store(a.rows...)
			fmt.Fprint(a, said(2*len(a.rows), 0, ""))
		}, attempts: 1},
		{outcome: "200 that claims all and stored some", faults: o2test.Faults{Seed: 1, LosePartClaimed: 0.5}},
		{outcome: "200 that claims all while the disk is full", faults: o2test.Faults{DiskFull: true}, meddle: func(w *world) {
			time.Sleep(300 * time.Millisecond)
			w.server.SetFaults(o2test.Faults{})
		}},
		{outcome: "200 with something else than the server's answer", front: answers(1, 200, "text/html", "<html>hello</html>"), attempts: 2},
		{outcome: "204 of a proxy", front: answers(1, 204, textPlain, ""), attempts: 2},
		{outcome: "400 for a body that is no JSON", front: poisoned(bad, func(a *attempt) {
			http.Error(a, message(400, "SerdeJsonError# expected value at line 1 column 9"), 400)
		}), letters: map[string]int{"refused": 1}},
		{outcome: "400 for a row that is no object", front: poisoned(bad, func(a *attempt) {
			http.Error(a, message(400, "Error# flatten value must be an object"), 400)
		}), letters: map[string]int{"refused": 1}},
		{outcome: "400 while the stream is being deleted", front: answers(2, 400, textJSON, message(400, "Error# stream [flightlog_enriched] is being deleted")), attempts: 3},
		{outcome: "400 of a node that is no ingester", front: answers(2, 400, textJSON, message(400, "Error# not an ingester")), attempts: 3},
		{outcome: "408", front: answers(1, 408, textPlain, ""), attempts: 2},
		{outcome: "425", front: answers(1, 425, textPlain, ""), attempts: 2},
		{outcome: "429", front: answers(1, 429, textPlain, ""), attempts: 2},
		{outcome: "413 of the server", config: o2test.Config{PayloadLimit: 8000}, rows: 60},
		{outcome: "415 for gzip", front: func(a *attempt) {
			if a.encoded != "" {
				a.WriteHeader(415)
				return
			}
			a.forward(a.rows...)
		}, attempts: 2},
		{outcome: "500 and nothing stored", front: answers(1, 500, textJSON, message(500, "boom")), attempts: 2},
		{outcome: "500 and all stored", front: once(func(a *attempt) {
			a.store(a.rows...)
			a.WriteHeader(500)
		}), attempts: 1},
		{outcome: "500 and some stored", front: once(func(a *attempt) {
			a.store(a.rows[:3]...)
			a.WriteHeader(500)
		}), attempts: 2},
		{outcome: "502 of a proxy and all stored", front: once(func(a *attempt) {
			a.store(a.rows...)
			a.WriteHeader(502)
		}), attempts: 1},
		{outcome: "504 of a proxy and nothing stored", front: answers(1, 504, textPlain, "Proxy request failed: x"), attempts: 2},
		{outcome: "503, the memtable is full", front: answers(3, 503, textJSON, message(503, "Error# MemoryTableOverflowError")), attempts: 4},
		{outcome: "503, the memory breaker", front: answers(3, 503, textJSON, message(503, "Error# MemoryCircuitBreakerError")), attempts: 4},
		{outcome: "503, the disk breaker", front: answers(3, 503, textJSON, message(503, "Error# DiskCircuitBreakerError")), attempts: 4},
		{outcome: "503 of a router", front: answers(3, 503, textPlain, "No online ingester nodes"), attempts: 4},
		{outcome: "reset before the body was read", faults: o2test.Faults{Seed: 3, ResetBeforeBody: 0.5}},
		{outcome: "reset after the body, nothing stored", front: once(abort), attempts: 2},
		{outcome: "reset after the body, all stored", front: once(func(a *attempt) {
			a.store(a.rows...)
			panic(http.ErrAbortHandler)
		}), attempts: 1},
		{outcome: "reset after the body for one row, again and again", front: poisoned(bad, abort), letters: map[string]int{"breaks_connection": 1}},
		{outcome: "no answer in time, all stored", front: once(func(a *attempt) {
			a.store(a.rows...)
			time.Sleep(700 * time.Millisecond)
		}), attempts: 1},
		{outcome: "no answer in time, nothing stored", front: once(func(*attempt) {
			time.Sleep(700 * time.Millisecond)
		}), attempts: 2},
		{outcome: "stored, and not to be seen for a while", faults: o2test.Faults{Invisible: 100 * time.Millisecond}, attempts: 1},
		{outcome: "stored, and the search fails for a while", faults: o2test.Faults{Seed: 1, SearchError: 0.7}, attempts: 1},
	} {
		t.Run(test.outcome, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.config)
			w.makeStreams()
			s := w.open()
			w.front = test.front
			w.server.SetFaults(test.faults)
			w.say(recent(max(rows, test.rows))...)
			stop := w.run(s)
			if test.meddle != nil {
				test.meddle(w)
			}
			w.settle()
			time.Sleep(1200 * time.Millisecond) // a worker that is told to stop asks no more
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			reasons, buried := w.letters()
			if fmt.Sprint(reasons) != fmt.Sprint(test.letters) && len(reasons)+len(test.letters) > 0 {
				t.Errorf("dead letters %v, want %v", reasons, test.letters)
			}
			stored := w.stored()
			for _, id := range buried {
				if slices.Contains(stored, id) {
					t.Errorf("row %s is stored and a dead letter", id)
				}
			}
			if twice := len(stored) - len(slices.Compact(slices.Clone(stored))); twice != test.twice {
				t.Errorf("%d rows stand twice, want %d", twice, test.twice)
			}
			if test.attempts != 0 && w.attempts != test.attempts {
				t.Errorf("%d attempts, want %d", w.attempts, test.attempts)
			}
			if at, end := w.place(); at != end {
				t.Errorf("the cursor is at %d of %d", at, end)
			}
		})
	}
}

// once gives the first attempt an outcome.
func once(reply front) front {
	return func(a *attempt) {
		if a.n == 1 {
			reply(a)
			return
		}
		a.forward(a.rows...)
	}
}

func TestWhatNobodyCanWaitForStopsTheSinkWithAClearError(t *testing.T) {
	for _, test := range []struct {
		outcome string
		front   front
		words   string
	}{
		{"401", answers(1000, 401, textPlain, "Unauthorized Access"), "status 401: Unauthorized Access"},
		{"403", answers(1000, 403, textPlain, "Unauthorized Access"), "status 403"},
		{"404", answers(1000, 404, textPlain, "Organization not found"), "Organization not found"},
		{"405", answers(1000, 405, textPlain, ""), "status 405"},
		{"411", answers(1000, 411, textPlain, ""), "status 411"},
		{"415 for everything", answers(1000, 415, textPlain, ""), "status 415"},
	} {
		t.Run(test.outcome, func(t *testing.T) {
			w := newWorld(t, o2test.Config{})
			w.makeStreams()
			s := w.open()
			w.front = test.front
			w.say(recent(4)...)
			failed := make(chan error, 1)
			stop := w.run(s)
			go func() { time.Sleep(300 * time.Millisecond); failed <- stop() }()
			err := <-failed
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Fatalf("Run: %v, want %q", err, test.words)
			}
			if at, _ := w.place(); at != 0 {
				t.Errorf("the cursor has passed rows that are not stored: %d", at)
			}
			w.front = nil
			w.run(w.open())
			w.settle()
		})
	}
}

func TestARowAtTheEdgeOfTheWindowIsADeadLetterAndAClockThatIsWrongLosesNothing(t *testing.T) {
	t.Run("edge", func(t *testing.T) {
		w := newWorld(t, o2test.Config{AllowedUpTo: 100})
		w.makeStreams()
		s := w.open()
		w.shift.Store(int64(6 * time.Minute)) // the server finds rows older than they are
		edge := time.Now().Add(-100 * time.Hour)
		w.say(edge.Add(2*time.Minute), edge.Add(-time.Minute), edge.Add(30*time.Minute))
		stop := w.run(s)
		w.settle()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if reasons, _ := w.letters(); reasons["outside_window"] != 2 || len(w.stored()) != 1 {
			t.Errorf("dead letters %v, %d rows stored", reasons, len(w.stored()))
		}
	})
	t.Run("ahead", func(t *testing.T) {
		w := newWorld(t, o2test.Config{AllowedUpTo: 100})
		w.makeStreams()
		s := w.open()
		w.say(time.Now().Add(25*time.Hour), time.Now().Add(23*time.Hour))
		stop := w.run(s)
		w.settle()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if reasons, _ := w.letters(); reasons["outside_window"] != 1 || len(w.stored()) != 1 {
			t.Errorf("dead letters %v, %d rows stored", reasons, len(w.stored()))
		}
	})
	t.Run("clock", func(t *testing.T) {
		w := newWorld(t, o2test.Config{AllowedUpTo: 100})
		w.makeStreams()
		s := w.open()
		w.shift.Store(int64(3 * time.Hour))
		w.say(time.Now().Add(-98*time.Hour), time.Now().Add(-time.Hour))
		stop := w.run(s)
		time.Sleep(700 * time.Millisecond)
		if reasons, _ := w.letters(); len(reasons) > 0 {
			t.Errorf("dead letters %v for a clock that is wrong", reasons)
		}
		w.shift.Store(0)
		w.settle()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if stored := w.stored(); len(stored) != 2 {
			t.Errorf("stored %v", stored)
		}
	})
}

func TestAServerThatIsDownOrRestartedGetsEverythingOnce(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open()
	w.server.Kill()
	w.say(recent(20)...)
	stop := w.run(s)
	time.Sleep(200 * time.Millisecond)
	if err := w.server.Restart(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.say(recent(20)...)
		time.Sleep(30 * time.Millisecond)
		w.server.Kill()
		time.Sleep(20 * time.Millisecond)
		if err := w.server.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	w.settle()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if stored := w.stored(); len(stored) != 120 {
		t.Errorf("%d rows stand, want 120", len(stored))
	}
}

func TestAPasswordThatWasChangedIsReadAnew(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	file := t.TempDir() + "/passcode"
	write(t, file, o2test.DefaultPasscode+"\n")
	s := w.open(func(c *openobserve.Config) {
		c.Loading = openobserve.Account{User: o2test.DefaultRoot, PasswordFile: file}
	})
	stop := w.run(s)
	w.say(recent(2)...)
	w.settle()
	status, text := w.request("PUT", "/api/default/passcode", nil)
	passcode := gjson.Get(text, "data.passcode").Str
	if status != 200 || passcode == "" || passcode == o2test.DefaultPasscode {
		t.Fatalf("a new passcode: %d %s", status, text)
	}
	write(t, file, passcode)
	w.say(recent(2)...)
	w.settle()
	if err := stop(); err != nil {
		t.Error(err)
	}
}
