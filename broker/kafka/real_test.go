//go:build unix

package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/brokertest"
	"github.com/flightlog/flightlog/broker/kafka"
	"github.com/flightlog/flightlog/broker/kafka/kafkatest"
	"github.com/flightlog/flightlog/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestARealKafkaKeepsTheContractOfABroker(t *testing.T) {
	server := kafkatest.Run(t)
	brokertest.Run(t, func(t *testing.T) brokertest.Installation {
		config := configOf([]string{server.Addr()})
		on := installation(t, config)
		t.Cleanup(func() { remove(t, config) })
		on.Restart = func(t *testing.T) {
			if err := server.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := server.Restart(); err != nil {
				t.Fatal(err)
			}
		}
		return on
	})
}

func TestWhatTransactionsOfOthersDoToOwnersAndReadersOnARealKafka(t *testing.T) {
	server := kafkatest.Run(t)
	for _, test := range owned {
		t.Run(test.sentence, func(t *testing.T) {
			config := configOf([]string{server.Addr()})
			provision(t, config, 4)
			test.try(t, config)
		})
	}
}

// Commits go on while the node is killed at any moment and comes back: each is
// stored once or not at all, and none that was acknowledged is missing.
func TestARealKafkaThatIsKilledLosesAndDoublesNothing(t *testing.T) {
	server := kafkatest.Run(t)
	config := configOf([]string{server.Addr()})
	provision(t, config, 4)
	b := connect(t, config)
	w := acquire(t, b)
	acknowledged, unknown := map[string]bool{}, 0
	for kill := range 3 {
		restarted := make(chan error, 1)
		for i, going := 0, true; going; i++ {
			if i == 10 {
				go func() { restarted <- server.Restart() }() // kills it first
			}
			row := fmt.Sprintf("%d.%d", kill, i)
			switch err := w.try(map[string]string{"row": row}, row); {
			case err == nil:
				acknowledged[row] = true
			case errors.Is(err, broker.ErrRetry):
			case errors.Is(err, broker.ErrUnknown), errors.Is(err, broker.ErrFenced):
				unknown++
				w = reacquire(t, b)
			default:
				t.Fatal(err)
			}
			select {
			case err := <-restarted:
				if err != nil {
					t.Fatal(err)
				}
				going = false
			default:
			}
		}
	}
	t.Logf("%d commits were acknowledged, %d owners did not know", len(acknowledged), unknown)
	times := map[string]int{}
	for _, row := range sessions(t, b) {
		times[row]++
		delete(acknowledged, row)
		if times[row] > 1 {
			t.Errorf("row %s is there %d times", row, times[row])
		}
	}
	if len(acknowledged) > 0 {
		t.Errorf("acknowledged and not there: %v", acknowledged)
	}
	n := int64(0)
	if err := b.History(t.Context(), "sessions", 1, func(c *schemas.Commit) error {
		if n++; c.CommitNumber != n {
			t.Errorf("commit %d stands in place %d", c.CommitNumber, n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if int(n) != len(times) {
		t.Errorf("%d commits, and rows of %d", n, len(times))
	}
}

// reacquire acquires once the node answers.
func reacquire(t *testing.T, b *kafka.Broker) *worker {
	t.Helper()
	w := &worker{T: t, b: b, next: 1, state: map[string]string{}}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		var err error
		if w.Owner, err = b.Acquire(t.Context(), "sessions", 1, "worker"); err == nil {
			err = w.restore()
		}
		if err == nil {
			w.said = w.next - 1
			return w
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// remove deletes the topics of an installation, so that the node stays quick.
func remove(t *testing.T, config kafka.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(config.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	topics.FilterInternal()
	var names []string
	for _, name := range topics.Names() {
		if strings.HasPrefix(name, config.Prefix+".") {
			names = append(names, name)
		}
	}
	if _, err := admin.DeleteTopics(ctx, names...); err != nil {
		t.Error(err)
	}
}
