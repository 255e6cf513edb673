// Command jetstream NATS_URL T prints the cost by repository since T from the
// topic enriched; a token is in NATS_TOKEN.
package main

import (
	"context"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/flightlog/flightlog/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const stream, subjects = "flightlog-g1-enriched", "flightlog.g1.enriched.>" // one generation: never add two

func main() {
	since, err := time.Parse(time.RFC3339, os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	cost, err := costByRepo(context.Background(), os.Args[1], since)
	if err != nil {
		log.Fatal(err)
	}
	for _, repo := range slices.Sorted(maps.Keys(cost)) {
		fmt.Printf("%s,%d,%.9f\n", repo, cost[repo], float64(cost[repo])/1e9)
	}
}

// costByRepo adds up cost_nano_usd of the facts since a time.
func costByRepo(ctx context.Context, url string, since time.Time) (map[string]int64, error) {
	begin := since.Add(-24 * time.Hour) // the clocks of hosts differ
	connection, err := nats.Connect(url, nats.Token(os.Getenv("NATS_TOKEN")))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	js, err := jetstream.New(connection)
	if err != nil {
		return nil, err
	}
	held, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	if state := held.CachedInfo().State; state.FirstSeq > 1 && (state.Msgs == 0 || !state.FirstTime.Before(begin)) {
		return nil, fmt.Errorf("position lost: %s may have held rows since %s that have aged out", stream, begin)
	}
	reader, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subjects}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &begin})
	if err != nil {
		return nil, err
	}
	cost, seen, commits := map[string]int64{}, map[schemas.Id]bool{}, map[string]int64{}
	for left := reader.CachedInfo().NumPending; left > 0; left-- { // what it holds as of now
		message, err := reader.Next(jetstream.FetchMaxWait(30 * time.Second))
		if err != nil {
			return nil, err
		}
		var frame schemas.EnrichedFrame
		if err := frame.DecodeMessage(message.Data()); err != nil {
			return nil, err
		}
		subject, header := message.Subject(), frame.Header
		if last, ok := commits[subject]; ok && header.PreviousCommit != last {
			return nil, fmt.Errorf("position lost: %s goes on after %d, not %d", subject, header.PreviousCommit, last)
		}
		commits[subject] = header.LastCommit
		for _, row := range frame.Rows {
			if !seen[row.RowId] && row.OccurredAt >= since.UnixMicro() {
				cost[row.Repo] += int64(row.Sign) * row.CostNanoUsd.Value
			}
			seen[row.RowId] = true // each once
		}
	}
	return cost, nil
}
