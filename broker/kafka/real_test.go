//go:build unix

package kafka_test

import (
	"testing"

	"github.com/flightlog/flightlog/broker/brokertest"
	"github.com/flightlog/flightlog/broker/kafka/kafkatest"
)

func TestARealKafkaKeepsTheContractOfABroker(t *testing.T) {
	server := kafkatest.Run(t)
	brokertest.Run(t, func(t *testing.T) brokertest.Installation {
		on := installation(t, configOf([]string{server.Addr()}))
		on.Restart = func(t *testing.T) {
			if err := server.Restart(); err != nil {
				t.Fatal(err)
			}
		}
		return on
	})
}
