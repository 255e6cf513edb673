package openobserve_test

// What a review has found, each as what holds now.

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/memory"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/openobserve"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

func TestAPartialAnswerThatDoesNotAddUpBuriesOnlyWhatWasRefused(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open()
	bad := id(3).String()
	w.front = func(a *attempt) {
		if a.n == 1 { // 8 sent: 3 stored, 1 refused, 4 silently lost
			good := without(a.rows, bad)
			a.store(good[:3]...)
			fmt.Fprint(a, said(3, 1, "Can't parse timestamp"))
			return
		}
		a.forward(a.rows...)
	}
	w.say(recent(8)...)
	stop := w.run(s)
	w.settle()
	_ = stop()
	if reasons, _ := w.letters(); reasons["refused"] > 1 {
		t.Errorf("dead letters %v: 1 row was refused, the others were lost by the server and would have been taken", reasons)
	}
}

func TestAPartialAnswerWhileTheDiskIsFullBuriesOnlyWhatWasRefused(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open()
	w.front = func(a *attempt) {
		if a.n == 1 {
			fmt.Fprint(a, said(7, 1, "Can't parse timestamp")) // and the WAL write failed: nothing is stored
			return
		}
		a.forward(a.rows...)
	}
	w.say(recent(8)...)
	stop := w.run(s)
	w.settle()
	_ = stop()
	if reasons, _ := w.letters(); reasons["refused"] > 1 {
		t.Errorf("dead letters %v, want 1 at the most", reasons)
	}
}

func TestTwoBatchesMayMeet415(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open()
	var both sync.WaitGroup
	both.Add(2)
	w.front = func(a *attempt) {
		if a.encoded != "" {
			both.Done()
			both.Wait()
			a.WriteHeader(415)
			return
		}
		a.forward(a.rows...)
	}
	stop := w.run(s)
	w.say(recent(3)...)
	time.Sleep(100 * time.Millisecond)
	w.say(recent(3)...)
	time.Sleep(800 * time.Millisecond)
	if err := stop(); err != nil {
		t.Errorf("the sink ended: %v", err)
	}
}

func TestAPipelineOnTheStreamRaisesAnAlarm(t *testing.T) {
	var text bytes.Buffer
	var mu sync.Mutex
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(lockedWriter{&mu, &text}, &slog.HandlerOptions{Level: slog.LevelWarn})))
	t.Cleanup(func() { slog.SetDefault(before) })
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open()
	w.front = func(a *attempt) {
		a.store(a.rows...)
		fmt.Fprint(a, said(2*len(a.rows), 0, ""))
	}
	w.say(recent(8)...)
	stop := w.run(s)
	w.settle()
	time.Sleep(500 * time.Millisecond)
	_ = stop()
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(text.String(), "pipeline") {
		t.Errorf("no word of the pipeline: %q", text.String())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// I2: blind
func TestAPipelineOnTheStreamIsNoReasonToSendAgain(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open(func(c *openobserve.Config) { c.Admin = openobserve.Account{} })
	w.front = func(a *attempt) {
		a.store(a.rows...)
		fmt.Fprint(a, said(2*len(a.rows), 0, ""))
	}
	w.say(recent(8)...)
	stop := w.run(s)
	time.Sleep(3 * time.Second)
	_ = stop()
	reasons, _ := w.letters()
	if n := len(w.stored()); n > 8 || len(reasons) > 0 {
		t.Errorf("%d rows stand of 8, and dead letters %v of rows that are stored", n, reasons)
	}
}

func TestABlindSinkFindsARowThatIsTooOldByItsTime(t *testing.T) {
	w := newWorld(t, o2test.Config{AllowedUpTo: 100})
	w.makeStreams()
	s := w.open(func(c *openobserve.Config) { c.Admin = openobserve.Account{} })
	w.shift.Store(int64(6 * time.Minute))
	edge := time.Now().Add(-100 * time.Hour)
	times := []time.Time{edge.Add(2 * time.Minute)} // refused by the server's clock
	hour := edge.Add(12 * time.Minute)
	for i := range 999 {
		times = append(times, hour.Add(time.Duration(i)*time.Millisecond))
	}
	w.say(times...)
	stop := w.run(s)
	w.settle()
	time.Sleep(time.Second)
	_ = stop()
	n := len(w.stored())
	t.Logf("%d attempts, %d rows stand of 999", w.attempts, n)
	if n > 2*999 {
		t.Errorf("%d rows stand of 999: each about %d times", n, n/999)
	}
}

// E2: a published port of a container that is down: connections are taken, and closed.
func TestABlindSinkBehindAProxyWhoseServerIsDownMakesNoDeadLetters(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var up sync.Map
	up.Store("up", true)
	to := strings.TrimPrefix(w.url, "http://")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if v, _ := up.Load("up"); v == false {
					time.Sleep(20 * time.Millisecond) // its dial fails
					return
				}
				d, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer d.Close()
				go func() { _, _ = copyAll(d, c) }()
				_, _ = copyAll(c, d)
			}()
		}
	}()
	s := w.open(func(c *openobserve.Config) { c.Admin = openobserve.Account{}; c.URL = "http://" + l.Addr().String() })
	s.Close()
	up.Store("up", false)
	time.Sleep(50 * time.Millisecond)
	w.say(recent(3)...)
	stop := w.run(s)
	time.Sleep(4 * time.Second)
	_ = stop()
	if reasons, _ := w.letters(); len(reasons) > 0 {
		t.Errorf("a server that is down behind a proxy made dead letters %v", reasons)
	}
}

func copyAll(to, from net.Conn) (int64, error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return 0, err
			}
		}
		if err != nil {
			to.Close()
			return 0, err
		}
	}
}

// 400 for everything
func TestAProxyThatSays400ToEverythingMakesNoDeadLetters(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open()
	w.front = answers(1<<30, 400, "text/html", "<html><center><h1>400 Bad Request</h1></center><hr><center>nginx</center></html>")
	w.say(recent(200)...)
	stop := w.run(s)
	time.Sleep(3 * time.Second)
	_ = stop()
	if reasons, _ := w.letters(); len(reasons) > 0 {
		t.Errorf("a proxy's 400 made dead letters of every row: %v", reasons)
	}
}

// K: same positions, other rows.
type named struct {
	broker.Broker
	name string
}

func (n named) Installation(context.Context) (string, error) { return n.name, nil }

func TestOtherRowsAtTheSamePositionsAreAnotherBatch(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open()
	load := func(b broker.Broker) func() {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- delivery.Run(ctx, delivery.Config{Broker: named{b, "i/g1"}, Destination: s, Group: "openobserve", Worker: "w", Topics: []string{broker.Enriched},
				Linger: 20 * time.Millisecond, Backoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, Settle: 200 * time.Millisecond})
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	log := broker.Log{Topic: broker.Enriched}
	say := func(b *memory.Broker, n int) {
		r := schemas.Enriched{RowId: id(n), Sign: 1, FactKey: id(n), Version: 1, Generation: 1, Kind: schemas.KindModelRequest, OccurredAt: time.Now().Truncate(time.Hour).UnixMicro() - 1}
		header := schemas.RowHeader{Processor: "p", Generation: 1, FirstCommit: 1, LastCommit: 1}
		if _, err := b.Append(t.Context(), log, broker.AppendRows(nil, log.Topic, &header, [][]byte{r.AppendAvro(nil)})); err != nil {
			t.Fatal(err)
		}
	}
	one := memory.New(2)
	say(one, 1)
	stop := load(one)
	for deadline := time.Now().Add(5 * time.Second); len(w.stored()) < 1 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	// The broker has lost its unsynced end, the sink's cursor was noted before; the
	// processor says another row at the same position.
	two := memory.New(2)
	say(two, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	_ = two.Consume(ctx, broker.Group{Name: "openobserve", Topic: broker.Enriched}, "look", func(ctx context.Context, claim broker.Claim) error {
		if claim.Partition() != 0 {
			<-ctx.Done()
			return nil
		}
		_, _ = claim.Cursor(ctx, schemas.LaneNormal)
		if err := claim.SetCursor(ctx, schemas.LaneNormal, broker.Cursor{Note: []byte(`{"ends":[1]}`)}); err != nil {
			t.Error(err)
		}
		cancel()
		return nil
	})
	stop = load(two)
	time.Sleep(3 * time.Second)
	stop()
	if !slices.Contains(w.stored(), id(2).String()) {
		t.Errorf("row 2 is lost, stored %v", w.stored())
	}
}

func TestAWindowWithoutAnEnd(t *testing.T) {
	w := newWorld(t, o2test.Config{AllowedUpTo: 9_999_999})
	w.makeStreams()
	s, err := openobserve.Open(t.Context(), w.config(), delivery.Topics, 1080*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if reason, detail := s.Refuses(time.Now().Add(-time.Hour).UnixMicro()); reason != "" {
		t.Errorf("a row of an hour ago: %s %s", reason, detail)
	}
}

// S2
func TestAbsurdTimesAreMadeAgain(t *testing.T) {
	for _, at := range []int64{math.MinInt64, -1, 1, math.MaxInt64, 884541340800000000} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			w := newWorld(t, o2test.Config{})
			w.makeStreams()
			s := w.open()
			w.say(time.UnixMicro(at))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_ = w.broker.Consume(ctx, broker.Group{Name: "openobserve", Topic: broker.Enriched}, "look", func(ctx context.Context, claim broker.Claim) error {
				if claim.Partition() != 1 {
					<-ctx.Done()
					return nil
				}
				_, _ = claim.Cursor(ctx, schemas.LaneNormal)
				if err := claim.SetCursor(ctx, schemas.LaneNormal, broker.Cursor{Note: []byte(`{"ends":[1]}`)}); err != nil {
					t.Error(err)
				}
				cancel()
				return nil
			})
			stop := w.run(s)
			deadline := time.Now().Add(5 * time.Second)
			for {
				if reasons, _ := w.letters(); reasons["outside_window"] == 1 {
					break
				}
				if time.Now().After(deadline) {
					t.Errorf("the row is neither stored nor a dead letter; %v", w.stored())
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			_ = stop()
		})
	}
}

func TestASearchThatLagsMakesNoDuplicates(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open()
	w.server.SetFaults(o2test.Faults{Invisible: time.Second}) // Settle is 200 ms here
	w.say(recent(8)...)
	stop := w.run(s)
	time.Sleep(3 * time.Second)
	_ = stop()
	if n := len(w.stored()); n != 8 {
		t.Errorf("%d rows stand of 8 that the server had confirmed at the first attempt", n)
	}
}

func TestAnAdminAccountThatIsRefusedEndsTheSink(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	to, _ := url.Parse(w.url)
	proxy := httputil.NewSingleHostReverseProxy(to)
	var deny atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if deny.Load() && strings.HasSuffix(r.URL.Path, "/_search") {
			http.Error(rw, "Unauthorized Access", http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	defer server.Close()
	s := w.open(func(c *openobserve.Config) { c.URL = server.URL })
	deny.Store(true)
	w.say(recent(8)...)
	stop := w.run(s)
	time.Sleep(3 * time.Second)
	if err := stop(); err == nil {
		t.Error("the sink goes on with an admin account that the server refuses (401 to every search): it stalls for ever")
	}
}

// 503 of a mesh whose upstream broke after it had the request
func TestA503OfAMeshIsDoubtful(t *testing.T) {
	w := newWorld(t, o2test.Config{})
	w.makeStreams()
	s := w.open()
	w.front = once(func(a *attempt) {
		a.store(a.rows...)
		a.WriteHeader(503)
		_, _ = a.Write([]byte("upstream connect error or disconnect/reset before headers. reset reason: connection termination"))
	})
	w.say(recent(8)...)
	stop := w.run(s)
	w.settle()
	time.Sleep(500 * time.Millisecond)
	_ = stop()
	if n := len(w.stored()); n != 8 {
		t.Errorf("%d rows stand of 8", n)
	}
}
