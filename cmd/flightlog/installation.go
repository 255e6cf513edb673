package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/processors/changes"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/sessions"
	"github.com/flightlog/flightlog/processors/spend"
	"github.com/flightlog/flightlog/processors/tasks"
)

// installation is what a process uses of an installation: a broker that it
// talks to, or a data folder with an embedded one, which it runs itself or
// reaches through the `up` that does.
//
//	<data>/lock          held by the process that runs the broker
//	<data>/address.json  where that process listens on loopback (0600)
//	<data>/broker/       the broker's files
//	<data>/rows/         rows as NDJSON, written by up
type installation struct {
	folder string
	lock   *flock.Flock
	server *jetstream.Server // nil when another process runs the broker
	token  string            // of server
	broker broker.Broker
}

// partitions of an embedded broker (DESIGN §3).
const partitions = 4

// address is how another process on this machine reaches a running up.
type address struct {
	URL   string `json:"url"`
	Token string `json:"token"`
	PID   int    `json:"pid"`
}

// dataFlag adds --data.
func dataFlag(c *cobra.Command, folder *string) {
	c.Flags().StringVar(folder, "data", "", "data folder (default $XDG_DATA_HOME/flightlog, or ~/.local/share/flightlog)")
}

func dataFolder(flag string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	if xdg := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(xdg) {
		return filepath.Join(xdg, "flightlog"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot find the data folder, give --data: %w", err)
	}
	return filepath.Join(home, ".local", "share", "flightlog"), nil
}

// errRunning tells that another process runs the broker of a data folder.
var errRunning = errors.New("another flightlog runs on this data folder")

// start runs the broker of a data folder in this process. With listen, other
// processes on this machine can join.
func start(ctx context.Context, folder, listen string, generation int64) (*installation, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder: %w", err)
	}
	in := &installation{folder: folder, lock: flock.New(filepath.Join(folder, "lock"))}
	locked, err := in.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("cannot lock the data folder: %w", err)
	}
	if !locked {
		return nil, fmt.Errorf("%w: %s", errRunning, folder)
	}
	if err := os.Remove(in.addressFile()); err != nil && !errors.Is(err, os.ErrNotExist) { // of one that was killed
		in.Close()
		return nil, err
	}
	if err := in.serve(ctx, listen, generation); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

func (in *installation) serve(ctx context.Context, listen string, generation int64) (err error) {
	var secret [16]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return err
	}
	token := hex.EncodeToString(secret[:])
	in.server, err = jetstream.Embed(ctx, jetstream.EmbedConfig{
		Dir: filepath.Join(in.folder, "broker"), SyncAlways: true, Listen: listen, Token: token})
	if err != nil {
		return fmt.Errorf("cannot start the embedded broker: %w", err)
	}
	in.token = token
	cfg := jetstream.Config{InProcess: in.server, Token: token, Generation: 1}
	if err := jetstream.Provision(ctx, cfg, partitions); err != nil {
		return fmt.Errorf("cannot provision the embedded broker: %w", err)
	}
	cfg.Generation = generation
	b, err := jetstream.Connect(ctx, cfg)
	if err != nil {
		return fmt.Errorf("cannot connect to the embedded broker: %w", err)
	}
	in.broker = b
	if err := in.hasGeneration(ctx); err != nil {
		return err
	}
	if listen == "" {
		return nil
	}
	text, err := json.Marshal(address{URL: in.server.ClientURL(), Token: token, PID: os.Getpid()})
	if err != nil {
		return err
	}
	return replaceFile(in.addressFile(), text)
}

func (in *installation) addressFile() string { return filepath.Join(in.folder, "address.json") }

// address is where the process listens that runs the broker.
func (in *installation) address() (a address, err error) {
	text, err := os.ReadFile(in.addressFile())
	if err != nil {
		return a, fmt.Errorf("%w: %s: it is an import or a tail that takes no others; wait for its end, or run 'flightlog up' first", errRunning, in.folder)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("cannot read %s: %w", in.addressFile(), err)
	}
	return a, nil
}

// join talks to the up that runs on a data folder.
func join(ctx context.Context, folder string, generation int64) (*installation, error) {
	in := &installation{folder: folder}
	a, err := in.address()
	if err != nil {
		return nil, err
	}
	b, err := jetstream.Connect(ctx, jetstream.Config{URL: a.URL, Token: a.Token, Generation: generation})
	if err != nil {
		return nil, fmt.Errorf("cannot reach the flightlog that runs on %s (pid %d): %w", folder, a.PID, err)
	}
	in.broker = b
	if err := in.hasGeneration(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return in, nil
}

// hasGeneration is an error where the broker does not hold the generation.
func (in *installation) hasGeneration(ctx context.Context) error {
	_, err := in.broker.LastCommit(ctx, "sessions", 0)
	if g := in.broker.Generation(); errors.Is(err, broker.ErrNotProvisioned) && g > 1 {
		return fmt.Errorf("there is no generation %d: 'flightlog rebuild --generation %d' makes it", g, g)
	}
	return nil
}

// errUpEnded: the up whose broker was used has ended or was started again.
var errUpEnded = errors.New("the flightlog up that it worked with has ended")

// watch ends ctx with errUpEnded when the up that was joined ends.
func (in *installation) watch(ctx context.Context, stop context.CancelCauseFunc) {
	if in.folder == "" || in.server != nil {
		return
	}
	joined, _ := os.ReadFile(in.addressFile())
	for {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
		if now, err := os.ReadFile(in.addressFile()); err != nil || !bytes.Equal(now, joined) {
			stop(errUpEnded)
			return
		}
	}
}

// startOrJoin runs the broker, or joins the up that does.
func startOrJoin(ctx context.Context, folder string, generation int64) (*installation, error) {
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		in, err := start(ctx, folder, "", generation)
		if !errors.Is(err, errRunning) {
			return in, err
		}
		if in, err = join(ctx, folder, generation); err == nil || wait > 2*time.Second {
			return in, err
		}
		select { // the other may be about to start, or to end
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// process runs the processors until ctx ends. Without an admin nobody is told
// how it goes.
func (in *installation) process(ctx context.Context, a *admin) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := processors()
	ended := make(chan error, len(all))
	for _, p := range all {
		config := engine.Config{Broker: in.broker, Processor: p, Owner: workerName(), Stopped: tellStopped}
		if a != nil {
			config.Metrics = a.engine
			if p.Name() == "sessions" { // the others hold partitions of the same numbers
				config.Status = a.processing()
			}
		}
		go func() { ended <- engine.Run(ctx, config) }()
	}
	var errs []error
	for range all {
		errs = append(errs, <-ended)
		cancel() // one that fails ends the others
	}
	return errors.Join(errs...)
}

// processors are those of the pipeline, sessions first.
func processors() []engine.Processor {
	return []engine.Processor{sessions.New(), changes.NewProcessor(), tasks.NewProcessor(), spend.NewProcessor()}
}

// tellStopped raises the alarm for a partition that is left alone.
func tellStopped(partition int, err error) {
	way := "see the error; it is tried again every minute"
	if errors.Is(err, broker.ErrLost) {
		way = "its log has lost something: look at 'flightlog verify', and make a new generation from the events by 'flightlog rebuild'"
	}
	slog.Error("a partition is stopped, the others go on", "partition", partition, "way_out", way, "error", err)
}

// workerName is another one for each process.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return host + "-" + strconv.Itoa(os.Getpid()) + "-" + strings.ToLower(rand.Text()[:6])
}

// Close stops what this process runs of the installation.
func (in *installation) Close() {
	if in.broker != nil {
		in.broker.Close()
	}
	if in.server != nil {
		os.Remove(in.addressFile())
		in.server.Close()
	}
	if in.lock != nil {
		_ = in.lock.Unlock()
	}
}

// replaceFile writes a private file in one step.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
