package jetstream_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/brokertest"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// Three replicas answer some appends with 10164, which one server never does,
// and change leaders.
func TestAClusterOfThreeKeepsTheContractOfABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("a cluster takes its time")
	}
	nodes := newCluster(t)
	var installations atomic.Int64
	brokertest.Run(t, func(t *testing.T) brokertest.Installation {
		config := jetstream.Config{
			URL: nodes.urls(), Prefix: fmt.Sprint("cluster", installations.Add(1)),
			LeaseTTL: leaseTTL, SnapshotCommits: snapshotCommits,
			Layout: jetstream.Layout{Replicas: 3},
		}
		nodes.provision(t, config)
		return brokertest.Installation{
			LeaseTTL: leaseTTL, SnapshotCommits: snapshotCommits,
			Open:    func(t *testing.T) broker.Broker { return connect(t, config) },
			Restart: nodes.restartLeader,
		}
	})
}

// nodes are three servers that know each other.
type nodes struct {
	options []*server.Options
	servers []*server.Server
}

func newCluster(t *testing.T) *nodes {
	t.Helper()
	n := &nodes{}
	var routes []*url.URL
	for i := range 3 {
		client, route := freePort(t), freePort(t)
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", route)})
		n.options = append(n.options, &server.Options{
			ServerName: fmt.Sprint("node", i), Host: "127.0.0.1", Port: client,
			Cluster:   server.ClusterOpts{Name: "flightlog", Host: "127.0.0.1", Port: route},
			JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		})
	}
	for _, options := range n.options {
		options.Routes = routes
		n.servers = append(n.servers, n.start(t, options))
	}
	t.Cleanup(func() {
		for _, ns := range n.servers {
			ns.Shutdown()
			ns.WaitForShutdown()
		}
	})
	n.leader(t)
	return n
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (n *nodes) start(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	ns, err := server.NewServer(options.Clone())
	if err != nil {
		t.Fatal(err)
	}
	go ns.Start()
	if !ns.ReadyForConnections(20 * time.Second) {
		t.Fatalf("%s is not ready", options.ServerName)
	}
	return ns
}

func (n *nodes) urls() string {
	var urls []string
	for _, options := range n.options {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", options.Port))
	}
	return strings.Join(urls, ",")
}

// provision waits until all servers take part: one that was restarted counts as
// offline for a while, and three replicas need three. The streams go with the
// test, so that the next one has the servers for itself.
func (n *nodes) provision(t *testing.T, config jetstream.Config) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = jetstream.Provision(t.Context(), config, brokertest.Partitions); err == nil {
			t.Cleanup(func() { n.remove(config.Prefix) })
			return
		}
	}
	t.Fatalf("the cluster cannot be provisioned: %v", err)
}

// remove deletes the streams of an installation, as far as the servers answer.
func (n *nodes) remove(prefix string) {
	conn, err := nats.Connect(n.urls())
	if err != nil {
		return
	}
	defer conn.Close()
	js, err := natsjs.New(conn)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for name := range js.StreamNames(ctx).Name() {
		if strings.HasPrefix(strings.TrimPrefix(name, "KV_"), prefix+"-") {
			_ = js.DeleteStream(ctx, name)
		}
	}
}

// leader waits until there is one.
func (n *nodes) leader(t *testing.T) int {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for i, ns := range n.servers {
			if ns.JetStreamIsLeader() {
				return i
			}
		}
	}
	t.Fatal("the cluster has no leader")
	return 0
}

// restartLeader takes the leader away, lets another one be found, and brings
// the server back.
func (n *nodes) restartLeader(t *testing.T) {
	t.Helper()
	old := n.leader(t)
	n.servers[old].Shutdown()
	n.servers[old].WaitForShutdown()
	n.leader(t)
	n.servers[old] = n.start(t, n.options[old])
}
