package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/flightlog/flightlog/broker/kafka/kafkatest"
	"github.com/flightlog/flightlog/loadtest/synthetic"
	"github.com/flightlog/flightlog/schemas"
	"github.com/flightlog/flightlog/sinks/openobserve"
	"github.com/flightlog/flightlog/sinks/openobserve/o2test"
)

// environment is a number from the environment.
func environment(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func TestACommandThatIsNotThereIsAnError(t *testing.T) {
	for _, args := range [][]string{{"sink", "openobserv"}, {"provision", "nosuch"}, {"deadletters", "nosuch"}, {"loadtest", "nosuch"}} {
		c := flightlogCommand(t, t.TempDir(), args...)
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "unknown command") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func TestAPasswordInTheURLIsNotTold(t *testing.T) {
	for _, args := range [][]string{{"sink", "openobserve"}, {"up"}, {"provision", "openobserve", "--openobserve-admin-user", "a"}, {"deadletters", "redrive", "--all"}} {
		c := flightlogCommand(t, t.TempDir(), append(args, "--openobserve", "http://root:TopSecret@127.0.0.1:1")...)
		if out, err := c.CombinedOutput(); err == nil || strings.Contains(string(out), "TopSecret") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// TestSinkKill loads rows into the stand-in while it fails in every way that it
// can, and kills the workers with SIGKILL: no row is missing, and with one row
// for each row_id the signed sums are those of what was said. make test-sink
// sets FLIGHTLOG_SINK_ROWS and FLIGHTLOG_SINK_KILLS.
func TestSinkKill(t *testing.T) {
	rows, kills := environment("FLIGHTLOG_SINK_ROWS", 20_000), environment("FLIGHTLOG_SINK_KILLS", 8)
	if testing.Short() {
		rows, kills = 5_000, 2
	}
	b, flags := loadedBroker(t, os.Getenv("FLIGHTLOG_SINK_BROKER"))
	seed := uint64(environment("FLIGHTLOG_SINK_SEED", 1))
	server, err := o2test.Start(o2test.Config{AllowedUpTo: 1080})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	provisionStreams(t, server)
	server.SetFaults(o2test.Faults{Seed: seed,
		Overflow: 0.02, MemoryBreaker: 0.005, DiskBreaker: 0.005, NoIngester: 0.01, BadGateway: 0.01, Internal: 0.01,
		ResetBeforeBody: 0.01, ResetAfterBody: 0.01, ResetAfterStore: 0.02, LoseAll: 0.01, LosePart: 0.01, LosePartClaimed: 0.01,
		Delay: o2test.Span{Max: 20 * time.Millisecond}, Late: o2test.Span{Max: 50 * time.Millisecond},
		SearchError: 0.01, Invisible: 100 * time.Millisecond})

	// What is said: as fast as the kills come.
	pace := time.Duration(kills) * 600 * time.Millisecond / time.Duration(rows/100)
	said := newLoad(t, b, seed, 0)
	feeding := make(chan struct{})
	go func() {
		defer close(feeding)
		for said.Rows < int64(rows) {
			said.frame(100)
			time.Sleep(pace)
		}
	}()

	// The server has storms, and is killed too.
	weather, calm := context.WithCancel(t.Context())
	var climate sync.WaitGroup
	climate.Go(func() {
		random := rand.New(rand.NewPCG(seed, 2))
		for weather.Err() == nil {
			wait(weather, time.Duration(1+random.IntN(4))*time.Second)
			if random.IntN(2) == 0 {
				server.Storm(time.Duration(random.IntN(1500)) * time.Millisecond)
				continue
			}
			server.Kill()
			wait(weather, time.Duration(random.IntN(1000))*time.Millisecond)
			if err := server.Restart(); err != nil {
				t.Error(err)
			}
		}
	})

	home := t.TempDir()
	start := func(env ...string) *exec.Cmd {
		c := flightlogCommand(t, home, append([]string{"sink", "openobserve", "--openobserve", server.URL(), "--admin", "",
			"--openobserve-user", o2test.DefaultRoot, "--openobserve-admin-user", o2test.DefaultRoot}, flags...)...)
		c.Env = append(c.Env, openobservePassword+"="+o2test.DefaultPasscode, openobserveAdminPassword+"="+o2test.DefaultRootPassword)
		c.Env = append(c.Env, env...)
		var log bytes.Buffer
		c.Stderr = &log
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Kill()
			if t.Failed() {
				t.Logf("a worker: %s", tailOf(log.String(), 2000))
			}
		})
		return c
	}
	random := rand.New(rand.NewPCG(seed, 3))
	points := []string{"delivery.cut", "delivery.noted", "delivery.stored"}
	byPoint := 0
	workers := [2]*exec.Cmd{start(), start()}
	for n := range kills {
		w := &workers[n%2]
		time.Sleep(time.Duration(100+random.IntN(800)) * time.Millisecond)
		err := (*w).Process.Signal(syscall.SIGKILL)
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if err := (*w).Wait(); !killed(err) {
			t.Fatalf("a worker ended by itself: %v\n%s", err, tailOf((*w).Stderr.(*bytes.Buffer).String(), 2000))
		}
		var env []string
		if random.IntN(2) == 0 { // dies at a place of its own choice, or when it is its turn
			env = append(env, fmt.Sprintf("FLIGHTLOG_FAILPOINT=%s:%d", points[random.IntN(len(points))], 1+random.IntN(4)))
			byPoint++
		}
		*w = start(env...)
	}
	<-feeding
	calm()
	climate.Wait()
	server.SetFaults(o2test.Faults{})
	for _, w := range workers {
		_ = w.Process.Kill()
		_ = w.Wait()
	}
	last := start()
	const stream = "flightlog_enriched"
	for seen, since := -1, time.Now(); !said.stands(server, stream) && time.Since(since) < 30*time.Second; time.Sleep(100 * time.Millisecond) {
		if n := server.Count(stream); n != seen {
			seen, since = n, time.Now()
		}
	}
	if err := last.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := last.Wait(); err != nil {
		t.Errorf("the last worker did not stop cleanly: %v", err)
	}
	said.check(t, server, stream)
	t.Logf("%d kills of workers, %d of them started with a place to die at; faults %v", kills, byPoint, server.Injected())
}

func tailOf(s string, n int) string { return s[max(0, len(s)-n):] }

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// loadedBroker is a broker, and the flags by which another process reaches it.
func loadedBroker(t *testing.T, kind string) (broker.Broker, []string) {
	t.Helper()
	if kind == "kafka" {
		cluster := kafkatest.Run(t)
		config := kafka.Config{Brokers: []string{cluster.Addr()}, SessionTimeout: 6 * time.Second}
		if err := kafka.Provision(t.Context(), config, 4); err != nil {
			t.Fatal(err)
		}
		b, err := kafka.Connect(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b, []string{"--broker", "kafka://" + cluster.Addr(), "--lease-time", "6s"}
	}
	const token = "secret"
	server, err := jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	config := jetstream.Config{URL: server.ClientURL(), Token: token, LeaseTTL: time.Second}
	if err := jetstream.Provision(t.Context(), config, 4); err != nil {
		t.Fatal(err)
	}
	b, err := jetstream.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	file := t.TempDir() + "/token"
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	return b, []string{"--broker", server.ClientURL(), "--token-file", file}
}

// provisionStreams makes the typed streams.
func provisionStreams(t *testing.T, server *o2test.Server) {
	t.Helper()
	config := openobserve.Config{URL: server.URL(), Admin: openobserve.Account{User: o2test.DefaultRoot, Password: o2test.DefaultRootPassword}}
	if err := openobserve.Provision(t.Context(), config, openobserve.Layout{}, func(openobserve.Change) {}); err != nil {
		t.Fatal(err)
	}
}

// load says signed rows to a broker, and knows what they add up to.
type load struct {
	*synthetic.Load
	t    *testing.T
	b    broker.Broker
	next int // frame
}

// newLoad says facts of the last hours, or of a time before.
func newLoad(t *testing.T, b broker.Broker, seed uint64, before time.Duration) *load {
	return &load{Load: synthetic.New(seed, int64(seed)<<32, time.Now().Add(-3*time.Hour-before), 100*time.Millisecond), t: t, b: b}
}

// frame appends a frame of so many rows.
func (l *load) frame(rows int) {
	log := broker.Log{Topic: broker.Enriched, Partition: l.next % 4}
	l.next++
	if _, err := l.b.Append(context.Background(), log, l.Frame(log.Partition, rows)); err != nil {
		l.t.Error(err)
	}
}

// stands tells whether as many rows stand as were said.
func (l *load) stands(server *o2test.Server, stream string) bool {
	if int64(server.Count(stream)) < l.Rows {
		return false
	}
	ids := map[string]bool{}
	for row := range server.Stored(stream) {
		ids[gjson.GetBytes(row, "row_id").Str] = true
	}
	return int64(len(ids)) >= l.Rows
}

// check compares what is stored with what was said.
func (l *load) check(t *testing.T, server *o2test.Server, stream string) {
	t.Helper()
	l.sums(t, server, stream)
	for p := range 4 {
		if err := broker.Scan(t.Context(), l.b, broker.Log{Topic: broker.DeadLetters, Partition: p}, func(m broker.Message) error {
			var f schemas.DeadLetterFrame
			err := f.DecodeMessage(m.Payload)
			for i := range f.Rows {
				t.Errorf("a dead letter: %s %s", f.Rows[i].Reason, f.Rows[i].Detail)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// sums adds up what is stored, one row for each row_id.
func (l *load) sums(t *testing.T, server *o2test.Server, stream string) {
	t.Helper()
	raw, sameBatch, ids := 0, 0, map[string]string{} // row_id -> batch_id
	costs, signs := map[string]int64{}, map[string]int64{}
	for row := range server.Stored(stream) {
		raw++
		id, batch := gjson.GetBytes(row, "row_id").Str, gjson.GetBytes(row, "batch_id").Str
		if first, ok := ids[id]; ok {
			if first == batch {
				sameBatch++
			}
			continue
		}
		ids[id] = batch
		model, sign := gjson.GetBytes(row, "model").Str, gjson.GetBytes(row, "sign").Int()
		costs[model] += sign * gjson.GetBytes(row, "cost_nano_usd").Int()
		signs[model] += sign
	}
	t.Logf("%d rows were said, %d stand, missing %d, duplicates %d (%d of them in one batch)", l.Rows, len(ids), l.Rows-int64(len(ids)), raw-len(ids), sameBatch)
	if int64(len(ids)) != l.Rows {
		t.Errorf("missing %d rows", l.Rows-int64(len(ids)))
	}
	if !maps.Equal(costs, l.Costs) || !maps.Equal(signs, l.Signs) {
		t.Errorf("signed sums: nano-dollars %v and facts %v, want %v and %v", costs, signs, l.Costs, l.Signs)
	}
}
