//go:build unix

// Package subscribe_test runs the programs that docs/subscribe.md shows.
package subscribe_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/flightlog/flightlog/broker/kafka/kafkatest"
	"github.com/flightlog/flightlog/loadtest/recordings"
	"github.com/flightlog/flightlog/schemas"
	"github.com/nats-io/nats.go"
	natsstream "github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// pythonVariable names the environment variable with a Python that has what
// requirements.txt lists, as make test-python makes it.
const pythonVariable = "FLIGHTLOG_PYTHON"

func TestThePageShowsTheProgramsAsTheyAreTested(t *testing.T) {
	page, err := os.ReadFile("../subscribe.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, language := range map[string]string{"jetstream.py": "python", "kafka.py": "python",
		"jetstream/main.go": "go", "kafka/main.go": "go", "requirements.txt": ""} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(page, []byte("```"+language+"\n"+string(text)+"```\n")) {
			t.Errorf("docs/subscribe.md does not show %s as it is", file)
		}
	}
}

func TestTheSchemasOfThePublicTopicsStandUnderTheirFingerprint(t *testing.T) {
	for _, fingerprint := range []uint64{schemas.EnrichedFingerprint, schemas.EnrichedFrameFingerprint,
		schemas.FindingFingerprint, schemas.FindingFrameFingerprint, schemas.TaskFingerprint, schemas.TaskFrameFingerprint,
		schemas.SpendFingerprint, schemas.SpendFrameFingerprint} {
		file := filepath.Join("../../schemas/history", schemas.FingerprintName(fingerprint), fmt.Sprintf("%016x.avsc", fingerprint))
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

func TestTheProgramsAddUpTheRowsOfJetStream(t *testing.T) {
	ctx := t.Context()
	f := build(t)
	data := filepath.Join(f.home, "up")
	f.start(t, "up", "--data", data)
	var address struct{ URL, Token string }
	eventually(t, "up listens", func() bool {
		text, err := os.ReadFile(filepath.Join(data, "address.json"))
		return err == nil && json.Unmarshal(text, &address) == nil
	})
	f.run(t, "import", "--data", data, recordings.Dir(t))
	b, err := jetstream.Connect(ctx, jetstream.Config{URL: address.URL, Token: address.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	t.Setenv("NATS_TOKEN", address.Token)
	programs := programs(t, "jetstream", address.URL)
	programs.addUp(t, b, func() string { return f.run(t, "tail", "enriched", "--data", data) })
	f.showsTopics(t, "--data", data)

	connection, err := nats.Connect(address.URL, nats.Token(address.Token))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	js, err := natsstream.New(connection)
	if err != nil {
		t.Fatal(err)
	}
	enriched, err := js.Stream(ctx, "flightlog-g1-enriched")
	if err != nil {
		t.Fatal(err)
	}
	// The last but one frame of a subject disappears, as no retention would do.
	first, err := enriched.GetMsg(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := enriched.GetMsg(ctx, 2, natsstream.WithGetMsgSubject(first.Subject))
	if err != nil {
		t.Fatal(err)
	}
	if err := enriched.DeleteMsg(ctx, second.Sequence); err != nil {
		t.Fatal(err)
	}
	programs.lose(t, "goes on after")
	// The first frames age out.
	if err := enriched.Purge(ctx, natsstream.WithPurgeSequence(3)); err != nil {
		t.Fatal(err)
	}
	programs.lose(t, "have aged out")
	if err := enriched.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	programs.lose(t, "have aged out")
}

func TestTheProgramsAddUpTheRowsOfKafka(t *testing.T) {
	ctx := t.Context()
	server := kafkatest.Run(t)
	registry := srfake.New()
	defer registry.Close()
	f := build(t)
	at := "--broker=kafka://" + server.Addr()
	input := recordings.Dir(t)
	scenarios := recordings.Scenarios()
	f.run(t, "provision", "broker", at, "--partitions", "4")
	// The registry is configured later: the topic then holds rows in both formats.
	for i, part := range [][]string{scenarios[:len(scenarios)/2], scenarios[len(scenarios)/2:]} {
		worker := []string{"process", at, "--admin="}
		if i == 1 {
			worker = append(worker, "--registry", registry.URL())
			f.run(t, "provision", "broker", at, "--partitions", "4", "--registry", registry.URL())
		}
		stop := f.start(t, worker...)
		paths := []string{"import", at}
		for _, scenario := range part {
			paths = append(paths, filepath.Join(input, scenario))
		}
		f.run(t, paths...)
		stop()
	}
	b, err := kafka.Connect(ctx, kafka.Config{Brokers: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	abort(t, server.Addr())
	bothFormats(t, server.Addr())
	programs := programs(t, "kafka", server.Addr())
	programs.addUp(t, b, func() string { return f.run(t, "tail", "enriched", at) })
	f.showsTopics(t, at)

	// Commit 2 of a source is missing.
	for _, number := range []int64{1, 3} {
		frame := schemas.EnrichedFrame{Rows: []schemas.Enriched{{SessionId: "s"}},
			Header: schemas.RowHeader{Processor: "gap", FirstCommit: number, LastCommit: number, PreviousCommit: number - 1}}
		if _, err := b.Append(ctx, broker.Log{Topic: broker.Enriched}, frame.AppendMessage(nil)); err != nil {
			t.Fatal(err)
		}
	}
	programs.lose(t, "goes on after 2, not 1")
	client := connect(t, server.Addr())
	var before kadm.Offsets // the first row of each partition ages out
	for partition := range int32(4) {
		before.Add(kadm.Offset{Topic: kafkaTopic, Partition: partition, At: 1})
	}
	deleted, err := kadm.NewClient(client).DeleteRecords(ctx, before)
	if err := errors.Join(err, deleted.Error()); err != nil {
		t.Fatal(err)
	}
	programs.lose(t, "have aged out")
}

const kafkaTopic = "flightlog.g1.enriched"

func connect(t *testing.T, address string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// abort leaves a record in the topic that never came about, and is no row.
func abort(t *testing.T, address string) {
	t.Helper()
	ctx := t.Context()
	client := connect(t, address, kgo.TransactionalID("aborts"))
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	result := client.ProduceSync(ctx, &kgo.Record{Topic: kafkaTopic, Value: []byte("no row")}).FirstErr()
	if err := errors.Join(result, client.EndTransaction(ctx, kgo.TryAbort)); err != nil {
		t.Fatal(err)
	}
}

// bothFormats waits until it has read a row in each of the two formats.
func bothFormats(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := connect(t, address, kgo.ConsumeTopics(kafkaTopic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	for begins := map[byte]bool{}; !begins[0xc3] || !begins[0]; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("the topic does not hold rows in both formats: %v", err)
		}
		for r := range fetches.RecordsAll() {
			begins[r.Value[0]] = true
		}
	}
}

// flightlog is the real program with a home of its own.
type flightlog struct{ program, home string }

func build(t *testing.T) *flightlog {
	t.Helper()
	f := &flightlog{filepath.Join(t.TempDir(), "flightlog"), t.TempDir()}
	compile(t, f.program, "../../cmd/flightlog")
	return f
}

func compile(t *testing.T, program, folder string) {
	t.Helper()
	c := exec.Command("go", "build", "-o", program, ".")
	c.Dir = folder
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s does not compile: %v\n%s", folder, err, out)
	}
}

func (f *flightlog) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, f.program, args...)
	c.Env = append(os.Environ(), "HOME="+f.home, "XDG_DATA_HOME="+f.home, "TMPDIR="+f.home)
	return c
}

// run runs flightlog to its end and gives what it printed.
func (f *flightlog) run(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := output(f.command(ctx, args...))
	if err != nil {
		t.Fatalf("flightlog %s: %v", strings.Join(args[:min(4, len(args))], " "), err)
	}
	return out
}

// showsTopics runs flightlog topics, as the page tells its readers to.
func (f *flightlog) showsTopics(t *testing.T, at ...string) {
	t.Helper()
	if table := f.run(t, append([]string{"topics"}, at...)...); !strings.Contains(table, broker.Enriched+" ") {
		t.Errorf("topics does not show enriched:\n%s", table)
	}
	var enriched struct {
		Messages  int64
		NewestRow row `json:"newest_row"`
	}
	text := f.run(t, append([]string{"topics", broker.Enriched, "--json"}, at...)...)
	if err := json.Unmarshal([]byte(text), &enriched); err != nil || enriched.Messages == 0 || enriched.NewestRow.Sign == 0 {
		t.Errorf("topics enriched shows %+v, %v", enriched, err)
	}
}

// start starts flightlog; stop ends it cleanly, at the latest with the test.
func (f *flightlog) start(t *testing.T, args ...string) (stop func()) {
	t.Helper()
	c := f.command(context.Background(), args...)
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = c.Process.Signal(syscall.SIGTERM)
		killed := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
		defer killed.Stop()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("flightlog %s:\n%s", args[0], said.String())
		}
	}
	t.Cleanup(stop)
	return stop
}

// output runs a command; its error holds what it said on stderr.
func output(c *exec.Cmd) (string, error) {
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, said.String())
	}
	return out.String(), nil
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is not so that %s", what)
		}
	}
}

// suite is the programs of the page for one broker, by language.
type suite map[string]func(since string) *exec.Cmd

func programs(t *testing.T, kind, address string) suite {
	t.Helper()
	program := filepath.Join(t.TempDir(), kind)
	compile(t, program, kind)
	s := suite{"Go": func(since string) *exec.Cmd { return exec.CommandContext(t.Context(), program, address, since) }}
	if python := os.Getenv(pythonVariable); python != "" {
		s["Python"] = func(since string) *exec.Cmd {
			return exec.CommandContext(t.Context(), python, kind+".py", address, "../../schemas/history", since)
		}
	} else {
		t.Logf("%s is not set: make test-python runs the Python programs too", pythonVariable)
	}
	return s
}

// addUp compares the sums of the programs with those of the rows that tail
// shows, from the beginning, from a fact on, with every row twice, and from a
// time on at which there is nothing yet.
func (s suite) addUp(t *testing.T, b broker.Broker, tail func() string) {
	t.Helper()
	rows := readRows(t, tail())
	var times []int64
	withdrawn := 0
	for _, r := range rows {
		if r.CostNanoUsd > 0 {
			times = append(times, r.OccurredAt)
		}
		if r.Sign < 0 {
			withdrawn++
		}
	}
	slices.Sort(times)
	if len(times) < 100 || withdrawn == 0 {
		t.Fatalf("%d rows bear a cost, %d take another one back: too few to tell", len(times), withdrawn)
	}
	beginning, middle, future := time.UnixMicro(0), time.UnixMicro(times[len(times)/2]), time.Now().Add(48*time.Hour)
	s.agree(t, rows, beginning)
	s.agree(t, rows, middle)
	s.agree(t, rows, future)
	sayAgain(t, b)
	if again := strings.Count(tail(), "\n"); again != 2*len(rows) {
		t.Fatalf("the topic holds %d rows, want each of %d twice", again, len(rows))
	}
	s.agree(t, rows, beginning)
	s.agree(t, rows, middle)
}

func (s suite) agree(t *testing.T, rows map[string]row, since time.Time) {
	t.Helper()
	want := map[string]int64{}
	for _, r := range rows {
		if r.OccurredAt >= since.UnixMicro() {
			want[r.Repo] += r.Sign * r.CostNanoUsd
		}
	}
	for language, program := range s {
		out, err := output(program(since.UTC().Format(time.RFC3339Nano)))
		if err != nil {
			t.Fatalf("%s since %v: %v", language, since, err)
		}
		if got := readSums(t, out); !maps.Equal(got, want) {
			t.Errorf("%s since %v: %v, want %v", language, since, got, want)
		}
		t.Logf("%s since %s: %v", language, since.UTC().Format(time.RFC3339), want)
	}
}

// lose expects the programs to end with an error that tells of a lost position.
func (s suite) lose(t *testing.T, why string) {
	t.Helper()
	for language, program := range s {
		out, err := output(program("1970-01-01T00:00:00Z"))
		if err == nil || !strings.Contains(err.Error(), "position lost") || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want a lost position (%s)\n%s", language, err, why, out)
		}
	}
}

// row is what the sums need of a row that tail printed.
type row struct {
	Sign        int64  `json:"sign"`
	OccurredAt  int64  `json:"occurred_at"`
	Repo        string `json:"repo"`
	CostNanoUsd int64  `json:"cost_nano_usd"`
}

// readRows reads lines of JSON by row_id.
func readRows(t *testing.T, lines string) map[string]row {
	t.Helper()
	rows := map[string]row{}
	for line := range strings.Lines(lines) {
		var r struct {
			RowID string `json:"row_id"`
			row
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		rows[r.RowID] = r.row
	}
	return rows
}

// readSums reads what a program printed: repository, nano-dollars, dollars.
func readSums(t *testing.T, out string) map[string]int64 {
	t.Helper()
	lines, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sums := map[string]int64{}
	for _, line := range lines {
		if line[0] == "repo" {
			continue // Python's headings
		}
		nano, err := strconv.ParseInt(line[1], 10, 64)
		usd, err2 := strconv.ParseFloat(line[2], 64)
		if err := errors.Join(err, err2); err != nil || usd != float64(nano)/1e9 {
			t.Fatalf("%v: %v", line, err)
		}
		sums[line[0]] = nano
	}
	return sums
}

// sayAgain appends every row of enriched once more, as another producer's.
func sayAgain(t *testing.T, b broker.Broker) {
	t.Helper()
	n, err := b.Partitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for partition := range n {
		log := broker.Log{Topic: broker.Enriched, Partition: partition}
		commit := int64(0)
		err := broker.Scan(t.Context(), b, log, func(m broker.Message) error {
			var f schemas.EnrichedFrame
			if err := f.DecodeMessage(m.Payload); err != nil {
				return err
			}
			commit++
			f.Header.Processor, f.Header.PreviousCommit = "again", commit-1
			f.Header.FirstCommit, f.Header.LastCommit = commit, commit
			_, err := b.Append(t.Context(), log, f.AppendMessage(nil))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
