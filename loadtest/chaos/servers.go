//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
)

// servers are the broker processes of a run.
type servers interface {
	// address is that of --broker.
	address() string
	// flags are what workers and provision are given beside it.
	flags(provision bool) []string
	// lease is how long a dead worker keeps its partitions.
	lease() time.Duration
	// failpoints that only this broker's code has.
	failpoints() []string
	connect(ctx context.Context) (broker.Broker, error)
	// kill ends some of the processes (SIGKILL), drawn by random, and tells how
	// many.
	kill(random *rand.Rand) (int, error)
	// heal starts what is down and waits until it answers.
	heal(ctx context.Context) error
	close() error
}

// kinds of brokers, by the name that --broker has.
var kinds = []string{"jetstream", "jetstream-r3", "kafka"}

func startServers(ctx context.Context, kind, dir string, seed uint64) (servers, error) {
	switch kind {
	case "jetstream":
		return startNATS(ctx, dir, 1, seed)
	case "jetstream-r3":
		return startNATS(ctx, dir, 3, seed)
	case "kafka":
		return startKafka(dir)
	}
	return nil, fmt.Errorf("cannot start broker %q: must be one of %v", kind, kinds)
}

// natsVariable makes this program a NATS server: it holds a natsNode as JSON.
const natsVariable = "FLIGHTLOG_CHAOS_NATS"

// natsNode is one server.
type natsNode struct {
	Name        string
	Dir         string
	Client      int   // port
	Route       int   // port, 0 = no cluster
	Routes      []int // of all nodes
	SyncsAlways bool
}

// serveNATS is the program as a server. It returns only with an error.
func serveNATS(spec string) error {
	var n natsNode
	if err := json.Unmarshal([]byte(spec), &n); err != nil {
		return fmt.Errorf("cannot serve NATS: %w", err)
	}
	o := &server.Options{ServerName: n.Name, Host: "127.0.0.1", Port: n.Client, JetStream: true, StoreDir: n.Dir,
		SyncAlways: n.SyncsAlways, MaxPayload: 2 << 20, NoSigs: true, NoSystemAccount: n.Route == 0}
	if n.Route != 0 {
		o.Cluster = server.ClusterOpts{Name: "flightlog", Host: "127.0.0.1", Port: n.Route}
		for _, port := range n.Routes {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", port)})
		}
	}
	ns, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("cannot serve NATS: %w", err)
	}
	ns.ConfigureLogger()
	ns.Start()
	ns.WaitForShutdown()
	return errors.New("the NATS server has ended by itself")
}

// natsServers are one or more NATS servers, each a process of this program.
type natsServers struct {
	nodes     []natsNode
	processes []*exec.Cmd // nil = down
	// snapshotEvery so many commits: few in runs with an odd seed, which take
	// several snapshots of each partition and purge; too many in those with an
	// even one, of which every commit is there in the end to be folded again.
	snapshotEvery int
}

func startNATS(ctx context.Context, dir string, replicas int, seed uint64) (servers, error) {
	s := &natsServers{processes: make([]*exec.Cmd, replicas), snapshotEvery: 100}
	if seed%2 == 0 {
		s.snapshotEvery = 1e6
	}
	var routes []int
	for i := range replicas {
		n := natsNode{Name: fmt.Sprint("node", i), Dir: filepath.Join(dir, fmt.Sprint("node", i)), SyncsAlways: replicas == 1}
		var err error
		if n.Client, err = freePort(); err != nil {
			return nil, err
		}
		if replicas > 1 {
			if n.Route, err = freePort(); err != nil {
				return nil, err
			}
			routes = append(routes, n.Route)
		}
		s.nodes = append(s.nodes, n)
	}
	for i := range s.nodes {
		s.nodes[i].Routes = routes
	}
	if err := s.heal(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("cannot find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *natsServers) address() string {
	var all []string
	for _, n := range s.nodes {
		all = append(all, n.url())
	}
	return strings.Join(all, ",")
}

func (n natsNode) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.Client) }

func (s *natsServers) lease() time.Duration { return 2 * time.Second }

func (s *natsServers) flags(provision bool) []string {
	if provision {
		return []string{"--lease-time", s.lease().String(), "--replicas", fmt.Sprint(len(s.nodes))}
	}
	return []string{"--snapshot-commits", fmt.Sprint(s.snapshotEvery)}
}

func (s *natsServers) failpoints() []string {
	routing := []string{"jetstream.routing", "jetstream.routed"}
	if s.snapshotEvery > 1000 {
		return routing
	}
	return append(routing, "snapshot.part", "snapshot.complete", "snapshot.named", "snapshot.purged")
}

func (s *natsServers) connect(ctx context.Context) (broker.Broker, error) {
	return jetstream.Connect(ctx, jetstream.Config{URL: s.address(), Timeout: 2 * time.Second, Name: "chaos"})
}

// kill mostly takes one server, of three sometimes two or all.
func (s *natsServers) kill(random *rand.Rand) (int, error) {
	n := 1
	if lots := random.IntN(8); len(s.nodes) > 1 && lots < 2 {
		n += 1 + lots
	}
	for _, i := range random.Perm(len(s.nodes))[:n] {
		if err := s.end(i); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (s *natsServers) end(i int) error {
	p := s.processes[i]
	if p == nil {
		return nil
	}
	s.processes[i] = nil
	if err := p.Process.Kill(); err != nil {
		return fmt.Errorf("cannot kill %s, it has ended by itself: %w", s.nodes[i].Name, err)
	}
	_ = p.Wait() // it was killed
	return nil
}

func (s *natsServers) heal(ctx context.Context) error {
	for i, n := range s.nodes {
		if s.processes[i] != nil {
			continue
		}
		program, err := os.Executable()
		if err != nil {
			return err
		}
		spec, err := json.Marshal(n)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(n.Dir, 0o700); err != nil {
			return err
		}
		log, err := os.OpenFile(n.Dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		p := exec.Command(program)
		p.Env = []string{natsVariable + "=" + string(spec)}
		p.Stdout, p.Stderr, p.SysProcAttr = log, log, attributes()
		err = p.Start()
		log.Close()
		if err != nil {
			return fmt.Errorf("cannot start %s: %w", n.Name, err)
		}
		s.processes[i] = p
	}
	for _, n := range s.nodes {
		if err := n.answers(ctx); err != nil {
			return err
		}
	}
	return nil
}

// serverPatience is how long a broker may take until it answers.
const serverPatience = time.Minute

// answers waits until the node answers for JetStream.
func (n natsNode) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	return until(ctx, 20*time.Millisecond, "answer of "+n.Name, func(ctx context.Context) error {
		c, err := nats.Connect(n.url(), nats.Timeout(time.Second), nats.NoReconnect())
		if err != nil {
			return err
		}
		defer c.Close()
		js, err := natsjs.New(c)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = js.AccountInfo(ctx)
		return err
	})
}

func (s *natsServers) close() error {
	var errs []error
	for i := range s.nodes {
		errs = append(errs, s.end(i))
	}
	return errors.Join(errs...)
}

// until calls again until it is done (nil) or ctx ends.
func until(ctx context.Context, pause time.Duration, what string, done func(context.Context) error) error {
	for {
		err := done(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("no %s: %w (%w)", what, err, context.Cause(ctx))
		}
	}
}

// killed tells that a process was ended by SIGKILL.
func killed(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
