package memory_test

import (
	"testing"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/brokertest"
	"github.com/flightlog/flightlog/broker/memory"
)

func TestMemoryKeepsTheContractOfABroker(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Installation {
		b := memory.New(brokertest.Partitions)
		return brokertest.Installation{
			Open: func(*testing.T) broker.Broker { return b.Handle() },
			OpenLossy: func(*testing.T) broker.Broker {
				b.LoseNextAck()
				return b.Handle()
			},
		}
	})
}
