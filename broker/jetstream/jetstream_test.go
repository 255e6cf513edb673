package jetstream_test

import (
	"bytes"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/brokertest"
	"github.com/flightlog/flightlog/broker/jetstream"
)

const (
	token           = "let-me-in"
	leaseTTL        = 2 * time.Second
	snapshotCommits = 20
)

func TestEmbeddedJetStreamKeepsTheContractOfABroker(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Installation {
		config := jetstream.Config{
			InProcess: embed(t, jetstream.EmbedConfig{Dir: t.TempDir()}),
			LeaseTTL:  leaseTTL, SnapshotCommits: snapshotCommits,
		}
		provision(t, config, brokertest.Partitions)
		return brokertest.Installation{
			LeaseTTL: leaseTTL, SnapshotCommits: snapshotCommits,
			Open: func(t *testing.T) broker.Broker { return connect(t, config) },
		}
	})
}

func TestJetStreamOverTCPKeepsTheContractOfABrokerThroughRestarts(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Installation {
		disk := jetstream.EmbedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: token}
		server := embed(t, disk)
		disk.Listen = strings.TrimPrefix(server.ClientURL(), "nats://")
		config := jetstream.Config{URL: server.ClientURL(), Token: token, LeaseTTL: leaseTTL, SnapshotCommits: snapshotCommits}
		provision(t, config, brokertest.Partitions)
		return brokertest.Installation{
			LeaseTTL: leaseTTL, SnapshotCommits: snapshotCommits,
			Open: func(t *testing.T) broker.Broker { return connect(t, config) },
			OpenLossy: func(t *testing.T) broker.Broker {
				lossy := config
				lossy.Timeout = time.Second // to wait for the answer that is lost
				lossy.URL = "nats://" + loseFirstCommitAck(t, disk.Listen)
				return connect(t, lossy)
			},
			Restart: func(t *testing.T) {
				if err := server.Close(); err != nil {
					t.Fatal(err)
				}
				server = embed(t, disk)
			},
		}
	})
}

// loseFirstCommitAck listens for clients of a server. It passes everything on
// but the server's answer to the first commit: it breaks that connection off.
func loseFirstCommitAck(t *testing.T, server string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var lost atomic.Bool
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			var committing atomic.Bool
			go pass(upstream, client, func(b []byte) bool {
				if !lost.Load() && bytes.Contains(b, []byte("HPUB flightlog.g1.commit.")) {
					committing.Store(true)
				}
				return true
			})
			go pass(client, upstream, func([]byte) bool {
				return !committing.Load() || !lost.CompareAndSwap(false, true)
			})
		}
	}()
	return listener.Addr().String()
}

// pass copies what comes in for as long as it may, and closes both ends.
func pass(to, from net.Conn, may func([]byte) bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !may(buffer[:n]) {
			return
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// embed starts a server that the test stops.
func embed(t testing.TB, config jetstream.EmbedConfig) *jetstream.Server {
	t.Helper()
	s, err := jetstream.Embed(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("cannot stop the server: %v", err)
		}
	})
	return s
}

func provision(t testing.TB, config jetstream.Config, partitions int) {
	t.Helper()
	if err := jetstream.Provision(t.Context(), config, partitions); err != nil {
		t.Fatal(err)
	}
}

// connect opens a connection that the test closes.
func connect(t testing.TB, config jetstream.Config) *jetstream.Broker {
	t.Helper()
	b, err := jetstream.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("cannot close the connection: %v", err)
		}
	})
	return b
}
