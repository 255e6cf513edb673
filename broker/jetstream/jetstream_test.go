package jetstream_test

import (
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/brokertest"
	"github.com/flightlog/flightlog/broker/jetstream"
)

func TestEmbeddedJetStreamKeepsTheContractOfABroker(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Installation {
		server := embed(t, jetstream.EmbedConfig{Dir: t.TempDir()})
		provision(t, jetstream.Config{InProcess: server}, brokertest.Partitions)
		return brokertest.Installation{
			Open: func(t *testing.T) broker.Broker { return connect(t, jetstream.Config{InProcess: server}) },
		}
	})
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
