package kafka_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/brokertest"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// processors that the tests commit as.
var processors = []string{"sessions", "tasks", "settling"}

func TestKafkaKeepsTheContractOfABroker(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Installation {
		var acks ackLoser
		cluster := newCluster(t, kfake.ListenFn(acks.listen))
		config := configOf(cluster.ListenAddrs())
		on := installation(t, config)
		on.OpenLossy = func(t *testing.T) broker.Broker {
			acks.armed.Store(true)
			t.Cleanup(func() {
				if acks.armed.Load() {
					t.Error("no acknowledgement was lost")
				}
			})
			return connect(t, config)
		}
		return on
	})
}

// installation provisions one for the conformance suite.
func installation(t *testing.T, config kafka.Config) brokertest.Installation {
	provision(t, config, brokertest.Partitions)
	return brokertest.Installation{
		Open:          func(t *testing.T) broker.Broker { return connect(t, config) },
		Transactional: true,
		LeaseTTL:      config.SessionTimeout,
	}
}

// ackLoser spoils the answer to the first EndTxn after it was armed: it puts an
// error's code into it, or breaks the connection off where there is none.
type ackLoser struct {
	armed atomic.Bool
	code  atomic.Int32
}

func (a *ackLoser) listen(network, address string) (net.Listener, error) {
	listener, err := net.Listen(network, address)
	return &lossyListener{listener, a}, err
}

type lossyListener struct {
	net.Listener
	acks *ackLoser
}

func (l *lossyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lossyConn{Conn: conn, acks: l.acks}, nil
}

// lossyConn is a connection at the broker's side.
type lossyConn struct {
	net.Conn
	acks   *ackLoser
	ending atomic.Bool // an EndTxn was asked for
}

func (c *lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	// Key and version of EndTxn, where a reader of frames begins behind their size.
	if key := []byte{0, byte(kmsg.EndTxn)}; c.acks.armed.Load() && (bytes.HasPrefix(b[:n], key) || n > 6 && bytes.Equal(b[4:6], key)) {
		c.ending.Store(true)
	}
	return n, err
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if c.ending.Load() && c.acks.armed.CompareAndSwap(true, false) {
		code := c.acks.code.Load()
		if code == 0 {
			c.Close()
			return 0, net.ErrClosed
		}
		const before = 4 + 4 + 1 + 4 // size, correlation id, no tags, throttle time
		b = bytes.Clone(b)
		binary.BigEndian.PutUint16(b[before:], uint16(code))
	}
	return c.Conn.Write(b)
}

// newCluster starts a broker in this process that the test stops.
func newCluster(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

var prefixes atomic.Int64

// configOf is that of a new installation.
func configOf(brokers []string) kafka.Config {
	return kafka.Config{
		Brokers:            brokers,
		Prefix:             fmt.Sprintf("flightlog-%d-%d", time.Now().UnixNano(), prefixes.Add(1)),
		TransactionTimeout: 3 * time.Second,
		SessionTimeout:     6 * time.Second,
		Layout:             kafka.Layout{Processors: processors, CompactionLag: time.Hour},
	}
}

func provision(t testing.TB, config kafka.Config, partitions int) {
	t.Helper()
	if err := kafka.Provision(t.Context(), config, partitions); err != nil {
		t.Fatal(err)
	}
}

// connect opens a connection that the test closes.
func connect(t testing.TB, config kafka.Config) *kafka.Broker {
	t.Helper()
	b, err := kafka.Connect(t.Context(), config)
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
