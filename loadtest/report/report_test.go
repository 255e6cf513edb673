// Package report measures the pipeline on the brokers that there are, for the
// table in docs/measurements.md. The figures are CPU per event, ratios and
// percentiles of one run; `make bench-engine` prints them.
package report

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/flightlog/flightlog/broker/kafka/kafkatest"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/schemas"
)

const partitions = 4

// load is frames by partition.
type load struct {
	frames [partitions][][]byte
	events int
}

// ofSessions makes sessions of 27 events, as hooks and transcripts tell them,
// in frames of a size; the time of their sessions goes on with first.
func ofSessions(first, sessions, frame int) *load {
	l := &load{}
	var waiting [partitions][][]byte
	var ended [partitions][]schemas.Id
	send := func(p int) {
		for some := range slices.Chunk(waiting[p], frame) {
			f := schemas.Frame{Segments: []schemas.Segment{{Org: "acme", ProducerId: "report", Schema: schemas.EventSchema, Events: some}}}
			l.frames[p] = append(l.frames[p], f.AppendMessage(nil))
		}
		l.events += len(waiting[p])
		waiting[p] = nil
		if len(ended[p]) > 0 {
			c := schemas.Control{Type: schemas.ControlTypeSourceEnd, Org: "acme", Sessions: ended[p]}
			l.frames[p] = append(l.frames[p], c.AppendMessage(nil))
			l.events++
			ended[p] = nil
		}
	}
	for n := first; n < first+sessions; n++ {
		id := fmt.Sprintf("%08x-2222-3333-4444-555555555555", n)
		p := schemas.PartitionOf(id, partitions)
		for i := range 13 {
			for _, w := range [...]schemas.Witness{schemas.WitnessHook, schemas.WitnessTranscript} {
				waiting[p] = append(waiting[p], call(id, i, w))
			}
		}
		waiting[p] = append(waiting[p], call(id, 13, schemas.WitnessHook))
		ended[p] = append(ended[p], schemas.SessionKey("acme", id))
		if len(waiting[p]) >= 100 {
			send(p)
		}
	}
	for p := range waiting {
		send(p)
	}
	return l
}

var began = time.Now().UnixMicro()

func call(session string, i int, w schemas.Witness) []byte {
	id := "toolu_" + strconv.Itoa(i)
	e := schemas.Event{Kind: schemas.KindToolCall, Witness: w, Agent: "claude-code", SessionId: session, PromptId: "p1",
		Repo: "github.com/example/shop", User: "dev", UserSource: schemas.UserSourceOsLogin, ToolUseId: id,
		OccurredAt: began + int64(i)*1e6, FactKey: schemas.FactKey(session, schemas.KindToolCall, id), Success: schemas.SomeBool(true)}
	e.Body.Branch = schemas.EventBodyTool
	e.Body.Tool = schemas.ToolBody{ToolName: "Bash", ToolTarget: "go test", ArgumentsHash: "0123456789abcdef", CommandClass: "test", Done: true}
	schemas.SetEventID(&e)
	return e.AppendAvro(nil)
}

// rig is a broker to measure on.
type rig struct {
	name    string
	connect func(t *testing.T) broker.Broker
	// broker is the CPU time of brokers in other processes so far.
	broker func() time.Duration
}

func inThisProcess() time.Duration { return 0 }

// jetStream is a server in this process.
func jetStream(t *testing.T, name string, always bool) rig {
	t.Helper()
	server, err := jetstream.Embed(t.Context(), jetstream.EmbedConfig{Dir: t.TempDir(), SyncAlways: always})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	config := jetstream.Config{InProcess: server}
	if err := jetstream.Provision(t.Context(), config, partitions); err != nil {
		t.Fatal(err)
	}
	return rig{name, func(t *testing.T) broker.Broker {
		b, err := jetstream.Connect(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, inThisProcess}
}

// timed tells how long commits take.
type timed struct {
	broker.Broker
	mu   sync.Mutex
	took []time.Duration
}

func (b *timed) Acquire(ctx context.Context, processor string, partition int, owner string) (broker.Owner, error) {
	o, err := b.Broker.Acquire(ctx, processor, partition, owner)
	return &timedOwner{o, b}, err
}

type timedOwner struct {
	broker.Owner
	b *timed
}

func (o *timedOwner) Commit(ctx context.Context, c *schemas.Commit) error {
	started := time.Now()
	err := o.Owner.Commit(ctx, c)
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	o.b.took = append(o.b.took, time.Since(started))
	return err
}

// percentile of some durations.
func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(p*float64(len(d))))].Round(10 * time.Microsecond)
}

// spent is the CPU time of this process so far, user and system.
func spent() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// progress follows the commits of all workers.
type progress struct {
	mu     sync.Mutex
	folded int
	more   map[int64]bool
	last   map[int64]time.Time     // by partition
	stood  map[int64]time.Duration // longest time between two commits
}

func (p *progress) committed(c *schemas.Commit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.folded += int(c.Counts.In)
	p.more[c.Partition] = c.More
	now := time.Now()
	if last, ok := p.last[c.Partition]; ok {
		p.stood[c.Partition] = max(p.stood[c.Partition], now.Sub(last))
	}
	p.last[c.Partition] = now
}

func (p *progress) done(events int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.folded >= events && !slices.Contains(slices.Collect(maps.Values(p.more)), true)
}

func newProgress() *progress {
	return &progress{more: map[int64]bool{}, last: map[int64]time.Time{}, stood: map[int64]time.Duration{}}
}

// worker runs until stop.
func worker(t *testing.T, b broker.Broker, name string, p *progress) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := engine.Run(ctx, engine.Config{Broker: b, Processor: sessions.New(), Owner: name, Committed: p.committed}); err != nil {
			t.Error(err)
		}
	}()
	return func() { cancel(); <-ended; b.Close() }
}

func send(t *testing.T, b broker.Broker, l *load) {
	t.Helper()
	var all sync.WaitGroup
	for p := range partitions {
		all.Go(func() {
			for _, f := range l.frames[p] {
				if _, err := b.Append(t.Context(), broker.Log{Topic: broker.Events, Partition: p}, f); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func wait(t *testing.T, p *progress, events int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Minute); !p.done(events); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) || t.Failed() {
			t.Fatalf("%d of %d events folded", p.folded, events)
		}
	}
}

// throughput folds a load that stands in the log already, and prints a line.
func throughput(t *testing.T, r rig, sessions, frame, workers int) {
	b := r.connect(t)
	defer b.Close()
	l := ofSessions(0, sessions, frame)
	sending, brokerSending := spent(), r.broker()
	send(t, b, l)
	sending, brokerSending = spent()-sending, r.broker()-brokerSending
	p, connection := newProgress(), &timed{Broker: r.connect(t)}
	cpu, brokerCPU, started := spent(), r.broker(), time.Now()
	stops := []func(){worker(t, connection, "w0", p)}
	for i := 1; i < workers; i++ {
		stops = append(stops, worker(t, r.connect(t), fmt.Sprint("w", i), p))
	}
	wait(t, p, l.events)
	took := time.Since(started)
	for _, stop := range stops {
		stop() // with the routing
	}
	cpu, brokerCPU = spent()-cpu, r.broker()-brokerCPU
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(l.events) }
	fmt.Printf("| %s | %d | %d | %d | %.0f | %.1f | %.1f | %.1f / %.1f | %v | %v |\n", r.name, frame, workers, l.events,
		float64(l.events)/took.Seconds(), per(cpu), per(brokerCPU), per(sending), per(brokerSending),
		percentile(connection.took, 0.5), percentile(connection.took, 0.99))
}

const throughputHead = `| broker | events per frame | workers | events | events/s | µs CPU/event, this process | µs CPU/event, broker elsewhere | sending: here / broker | commit p50 | commit p99 |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
`

func asked(t *testing.T) {
	if os.Getenv("FLIGHTLOG_REPORT") == "" {
		t.Skip("make bench-engine runs it")
	}
}

func TestThroughputByFrameAndBroker(t *testing.T) {
	asked(t)
	fmt.Print(throughputHead)
	for _, frame := range []int{1, 4, 100} {
		sessions := map[int]int{1: 500, 4: 1500, 100: 5000}[frame]
		throughput(t, jetStream(t, "JetStream R1, lazy, embedded", false), sessions, frame, 1)
		throughput(t, jetStream(t, "JetStream R1, always, embedded", true), sessions, frame, 1)
		throughput(t, cluster(t), sessions, frame, 1)
		if os.Getenv("FLIGHTLOG_KAFKA_JARS") != "" {
			throughput(t, kafkaRig(t), sessions, frame, 1)
		}
	}
}

func TestThroughputByWorkers(t *testing.T) {
	asked(t)
	fmt.Print(throughputHead)
	for _, workers := range []int{1, 2, 4} {
		throughput(t, jetStream(t, "JetStream R1, lazy, embedded", false), 4000, 100, workers)
		if os.Getenv("FLIGHTLOG_KAFKA_JARS") != "" {
			throughput(t, kafkaRig(t), 4000, 100, workers)
		}
	}
}

// Workers come and go while events are sent at a pace; says how long partitions
// stood still.
func TestStandstillWhenWorkersComeAndGo(t *testing.T) {
	asked(t)
	rigs := []rig{jetStream(t, "JetStream R1, always, embedded", true)}
	if os.Getenv("FLIGHTLOG_KAFKA_JARS") != "" {
		rigs = append(rigs, kafkaRig(t))
	}
	fmt.Print("| broker | change | longest time without a commit, by partition |\n| --- | --- | --- |\n")
	for _, r := range rigs {
		p, b := newProgress(), r.connect(t)
		events, sent := make(chan int, 1), 0
		ctx, stopSending := context.WithCancel(t.Context())
		go func() {
			for n := 0; ctx.Err() == nil; n += 10 {
				l := ofSessions(n, 10, 100)
				send(t, b, l)
				sent += l.events
				time.Sleep(20 * time.Millisecond)
			}
			events <- sent
		}()
		var stops []func()
		change := func(what string, how func()) {
			time.Sleep(2 * time.Second)
			p.mu.Lock()
			clear(p.stood)
			p.mu.Unlock()
			how()
			time.Sleep(15 * time.Second)
			p.mu.Lock()
			defer p.mu.Unlock()
			var longest []string
			for _, partition := range slices.Sorted(maps.Keys(p.stood)) {
				longest = append(longest, p.stood[partition].Round(time.Millisecond).String())
			}
			fmt.Printf("| %s | %s | %v |\n", r.name, what, longest)
		}
		add := func() { stops = append(stops, worker(t, r.connect(t), fmt.Sprint("w", len(stops)), p)) }
		add()
		change("1 worker, nothing", func() {})
		change("a second one", add)
		change("a third one", add)
		change("one is stopped (SIGTERM)", func() { stops[0]() })
		change("another one", func() { stops[1]() })
		stopSending()
		total := <-events
		wait(t, p, total)
		stops[2]()
		if p.folded != total {
			t.Errorf("%s: %d events folded, %d sent", r.name, p.folded, total)
		}
		b.Close()
	}
}

// counter has one record of state for every event.
type counter struct{}

func (counter) Name() string                    { return "sessions" }
func (counter) Version() int64                  { return 1 }
func (counter) Begin(tx *engine.Tx) engine.Fold { return &counting{tx} }

type counting struct{ tx *engine.Tx }

func (c *counting) Event(_ string, e *schemas.Event) (engine.Outcome, error) {
	c.tx.Put("n"+string(e.EventId[:]), make([]byte, 180), 0)
	return engine.Applied, nil
}
func (*counting) SourceEnd(schemas.Id)       {}
func (*counting) Restate(engine.Restatement) {}
func (*counting) Due(string) error           { return nil }
func (*counting) End()                       {}

// One partition's state of a million records of 200 B is written by commits
// with snapshots, and restored.
func TestRestoreOfAMillionRecords(t *testing.T) {
	asked(t)
	r := jetStream(t, "JetStream R1, lazy, embedded", false)
	b := r.connect(t)
	defer b.Close()
	const records = 1_000_000
	n := 0
	p := newProgress()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- engine.Run(ctx, engine.Config{Broker: b, Processor: counter{}, Owner: "writer", Committed: p.committed})
	}()
	for n < records {
		f := schemas.Frame{Segments: []schemas.Segment{{Org: "acme", ProducerId: "report", Schema: schemas.EventSchema}}}
		for range 500 {
			n++
			e := schemas.Event{EventId: schemas.FactKey("x", schemas.KindPrompt, strconv.Itoa(n)), SessionId: "s"}
			f.Segments[0].Events = append(f.Segments[0].Events, e.AppendAvro(nil))
		}
		if _, err := b.Append(ctx, broker.Log{Topic: broker.Events}, f.AppendMessage(nil)); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, p, records)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	again := r.connect(t)
	defer again.Close()
	cpu, started := spent(), time.Now()
	owner, err := again.Acquire(t.Context(), "sessions", 0, "reader")
	if err != nil {
		t.Fatal(err)
	}
	state, parts := map[string][]byte{}, 0
	if err := owner.Restore(t.Context(), func(c *schemas.Commit) error {
		parts++
		for i := range c.Delta {
			state[string(c.Delta[i].Key)] = slices.Clone(c.Delta[i].Value)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("restore of %d records of 200 B (snapshot parts and commits: %d): %v, %v CPU\n", len(state), parts,
		time.Since(started).Round(time.Millisecond), (spent() - cpu).Round(time.Millisecond))
	if len(state) < records {
		t.Errorf("%d records restored, want %d", len(state), records)
	}
}

// Ten million events of sessions that end and close: the state must not grow
// but for the stubs.
func TestMemoryOverTenMillionEvents(t *testing.T) {
	asked(t)
	events := 10_000_000
	if n, err := strconv.Atoi(os.Getenv("FLIGHTLOG_REPORT_EVENTS")); err == nil {
		events = n
	}
	var harnesses [partitions]*engine.Harness
	for p := range harnesses {
		harnesses[p] = engine.NewHarness(sessions.New(), began)
	}
	const day = 2000 // sessions a day
	next := events / 10
	fmt.Print("| events | sessions | live heap, MB | state records | state, MB |\n| --- | --- | --- | --- | --- |\n")
	for n, sent := 0, 0; sent < events; n += day / 24 {
		l := ofSessions(n, day/24, 100)
		sent += l.events
		for p, h := range harnesses {
			h.Now += 3600e6
			for _, f := range l.frames[p] {
				if err := h.Append(f); err != nil {
					t.Fatal(err)
				}
			}
			h.Commits = h.Commits[:0]
			h.ExpireClosed() // the topic is the broker's
		}
		if sent >= next {
			next += events / 10
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			records, bytes := 0, int64(0)
			for _, h := range harnesses {
				r, b := h.Records()
				records, bytes = records+r, bytes+b
			}
			fmt.Printf("| %d | %d | %.1f | %d | %.1f |\n", sent, n, float64(m.HeapAlloc)/1e6, records, float64(bytes)/1e6)
		}
	}
}

// kafkaRig is a real broker in a process of its own.
func kafkaRig(t *testing.T) rig {
	t.Helper()
	server := kafkatest.Run(t)
	config := kafka.Config{Brokers: []string{server.Addr()}}
	if err := kafka.Provision(t.Context(), config, partitions); err != nil {
		t.Fatal(err)
	}
	return rig{"Kafka 4.1, one broker", func(t *testing.T) broker.Broker {
		b, err := kafka.Connect(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, server.CPU}
}

// cluster is three servers in this process that replicate everything.
func cluster(t *testing.T) rig {
	t.Helper()
	free := func() int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port
	}
	var options []*server.Options
	var routes []*url.URL
	var clients []string
	for i := range 3 {
		client, route := free(), free()
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", route)})
		clients = append(clients, fmt.Sprint("nats://127.0.0.1:", client))
		options = append(options, &server.Options{ServerName: fmt.Sprint("node", i), Host: "127.0.0.1", Port: client,
			Cluster:   server.ClusterOpts{Name: "flightlog", Host: "127.0.0.1", Port: route},
			JetStream: true, SyncAlways: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	}
	for _, o := range options {
		o.Routes = routes
		ns, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		go ns.Start()
		t.Cleanup(func() {
			ns.Shutdown()
			ns.WaitForShutdown()
		})
	}
	config := jetstream.Config{URL: strings.Join(clients, ","), Layout: jetstream.Layout{Replicas: 3}}
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if err = jetstream.Provision(t.Context(), config, partitions); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return rig{"JetStream R3, always, three servers here", func(t *testing.T) broker.Broker {
		b, err := jetstream.Connect(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, inThisProcess}
}
