//go:build unix

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/flightlog/flightlog/broker/kafka/kafkatest"
)

// kafkaServer is one node of a real Kafka.
type kafkaServer struct {
	*kafkatest.Server
	down bool
}

func startKafka(dir string) (servers, error) {
	jars := os.Getenv(kafkatest.JarsVariable)
	if jars == "" {
		return nil, errors.New("cannot start Kafka: " + kafkatest.JarsVariable + " does not name the folder of its jars")
	}
	s, err := kafkatest.Start(jars, dir)
	if err != nil {
		return nil, err
	}
	return &kafkaServer{Server: s}, nil
}

// Timeouts of the design's kill runs. The session's is the least that Kafka
// allows.
const (
	kafkaSession     = 6 * time.Second
	kafkaTransaction = 3 * time.Second
)

func (s *kafkaServer) address() string      { return "kafka://" + s.Addr() }
func (s *kafkaServer) lease() time.Duration { return kafkaSession }

func (s *kafkaServer) flags(provision bool) []string {
	if provision {
		return []string{"--commits-age", "24h"} // the checker reads every commit
	}
	return []string{"--lease-time", kafkaSession.String(), "--transaction-timeout", kafkaTransaction.String()}
}

func (s *kafkaServer) failpoints() []string {
	return []string{"kafka.acquired", "kafka.begun", "kafka.produced", "kafka.committed"}
}

func (s *kafkaServer) connect(ctx context.Context) (broker.Broker, error) {
	return kafka.Connect(ctx, kafka.Config{Brokers: strings.Split(s.Addr(), ",")})
}

func (s *kafkaServer) close() error { return s.Close() }

func (s *kafkaServer) kill(*rand.Rand) (int, error) {
	s.down = true
	return 1, s.Kill()
}

func (s *kafkaServer) heal(context.Context) error {
	if !s.down {
		return nil
	}
	s.down = false
	return s.Restart()
}
