//go:build unix

// Chaos kills workers and brokers of a real installation again and again while
// it works, and then proves that nothing was lost, doubled or changed.
//
//	make test-kill BROKER=jetstream|jetstream-r3|kafka KILLS=n SEED=s
//
// A run of up to 100 kills starts the broker's processes and some workers with
// folds of two versions, sends a seeded load with duplicates and late events on
// both lanes, and kills: workers and brokers at random, workers at named
// failpoints, workers that are stopped past their lease and wake up as zombies.
// Then everything heals and the checker reads the logs. Runs add up by seed in
// one report; a run that was made and found nothing is not made again with the
// same build.
//
// It is built with the tag quick, so that sessions close and come back within
// seconds, and builds the workers with its own tags.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/flightlog/flightlog/broker/kafka/kafkatest"
)

func main() {
	if spec := os.Getenv(natsVariable); spec != "" {
		fmt.Fprintln(os.Stderr, serveNATS(spec))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := chaos(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// perRun is the most kills of one run: so many events fit in memory for the
// reference.
const perRun = 100

// What is done where no kills are asked for, and on Kafka where there is one.
const (
	fewKills      = 20
	fewKafkaKills = 5
)

func chaos(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.StringVar(&o.Broker, "broker", "", fmt.Sprintf("one of %v; none = a short run on each that is there", kinds))
	kills := flags.Int("kills", 0, "SIGKILLs of workers and brokers; 0 = a short run")
	flags.Uint64Var(&o.Seed, "seed", 1, "of the first run; the next ones have the seeds after it")
	dir := flags.String("report", filepath.Join("bin", "kills"), "folder of the report, and of runs that fail")
	flags.IntVar(&o.Partitions, "partitions", 4, "partitions")
	flags.IntVar(&o.Workers, "workers", 3, "worker processes")
	again := flags.Bool("again", false, "make runs again that were made and found nothing")
	verbose := flags.Bool("v", false, "log what is done")
	if err := flags.Parse(args); err != nil {
		return err
	}
	brokers := []string{o.Broker}
	if o.Broker == "" {
		brokers = []string{"jetstream"}
		if os.Getenv(kafkatest.JarsVariable) != "" {
			brokers = append(brokers, "kafka")
		}
	}
	if !slices.Contains(kinds, brokers[0]) {
		return fmt.Errorf("cannot kill on %q: must be one of %v", o.Broker, kinds)
	}
	level := slog.LevelError
	if *verbose {
		level = slog.LevelInfo
	}
	slog.SetLogLoggerLevel(level)
	c := &campaign{options: o, dir: *dir, again: *again}
	if err := c.build(ctx); err != nil {
		return err
	}
	var err error
	if c.report, err = openReport(*dir); err != nil {
		return err
	}
	var failed []error
	for _, broker := range brokers {
		n := *kills
		switch {
		case n > 0:
		case broker == "kafka":
			n = fewKafkaKills
		default:
			n = fewKills
		}
		c.Broker = broker
		failed = append(failed, c.runs(ctx, n))
		if ctx.Err() != nil {
			break
		}
	}
	all, err := c.report.of(c.hash)
	if err == nil {
		err = writeSums(os.Stdout, all)
	}
	return errors.Join(append(failed, err)...)
}

// campaign is some runs of one build.
type campaign struct {
	options
	dir      string
	report   report
	programs map[int64]string // by the version of the fold
	hash     string
	overlay  string // file that go build -overlay reads, for tests of the test
	again    bool
}

// runs makes runs of so many kills in all, one seed after the other.
func (c *campaign) runs(ctx context.Context, kills int) error {
	var failed []error
	for seed := c.Seed; kills > 0; seed++ {
		o := c.options
		o.Seed, o.Kills = seed, min(kills, perRun)
		kills -= o.Kills
		if err := c.run(ctx, o); err != nil {
			failed = append(failed, fmt.Errorf("%s, seed %d: %w\nto run it again: make test-kill BROKER=%s KILLS=%d SEED=%d",
				o.Broker, seed, err, o.Broker, o.Kills, seed))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

func (c *campaign) run(ctx context.Context, o options) error {
	all, err := c.report.of(c.hash)
	if err != nil {
		return err
	}
	if s := done(all, o.Broker, o.Seed, o.Kills); s != nil && !c.again {
		fmt.Printf("%s, seed %d: %d kills, made on %s\n", o.Broker, o.Seed, s.killed(), s.Began.Format("2006-01-02 15:04"))
		return nil
	}
	dir, err := filepath.Abs(filepath.Join(c.dir, fmt.Sprintf("%s-%d", o.Broker, o.Seed)))
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return fmt.Errorf("cannot make the run's folder: %w", err)
	}
	r := newRun(o, c.hash, dir, c.programs)
	err = r.do(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.violate("the run could not be finished: %v", err)
	}
	s := r.result
	fmt.Printf("%s, seed %d: %d kills, %d events in %d commits, %.0f s: %d violations\n",
		o.Broker, o.Seed, s.killed(), s.Events, s.Commits, s.Seconds, len(s.Violations))
	if err := errors.Join(c.report.write(s), r.keepOrRemove(err)); err != nil {
		return err
	}
	if len(s.Violations) > 0 {
		return fmt.Errorf("%d violations, the folder %s is kept:\n  %s", len(s.Violations), dir, strings.Join(s.Violations, "\n  "))
	}
	return nil
}

// build makes the workers' programs with the tags of this one.
func (c *campaign) build(ctx context.Context) error {
	tags := ownTags()
	if !slices.Contains(tags, "quick") {
		return errors.New("cannot start: build it with -tags quick, or no session would close within a run")
	}
	programs, err := filepath.Abs(filepath.Join(c.dir, "programs"))
	if err != nil {
		return err
	}
	c.programs = map[int64]string{}
	hash := sha256.New()
	for _, fold := range []int64{presentFold, newerFold} {
		of := tags
		if fold == newerFold {
			of = append(slices.Clone(tags), "fold2")
		}
		c.programs[fold] = filepath.Join(programs, fmt.Sprint("flightlog", fold))
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-tags", strings.Join(of, ","),
			"-overlay", c.overlay, "-o", c.programs[fold], "github.com/flightlog/flightlog/cmd/flightlog")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build flightlog: %w\n%s", err, out)
		}
		content, err := os.ReadFile(c.programs[fold])
		if err != nil {
			return err
		}
		hash.Write(content)
	}
	c.hash = hex.EncodeToString(hash.Sum(nil)[:8])
	return nil
}

// ownTags are the tags that this program was built with.
func ownTags() (tags []string) {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-tags" {
			tags = strings.Split(s.Value, ",")
		}
	}
	return tags
}
