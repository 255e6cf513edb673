// Command kafka BROKERS T prints the cost by repository since T from the topic
// enriched.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flightlog/flightlog/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const topic = "flightlog.g1.enriched" // one generation: never add two

func main() {
	since, err := time.Parse(time.RFC3339, os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cost, err := costByRepo(ctx, strings.Split(os.Args[1], ","), since)
	if err != nil {
		log.Fatal(err)
	}
	for _, repo := range slices.Sorted(maps.Keys(cost)) {
		fmt.Printf("%s,%d,%.9f\n", repo, cost[repo], float64(cost[repo])/1e9)
	}
}

// costByRepo adds up cost_nano_usd of the facts since a time.
func costByRepo(ctx context.Context, brokers []string, since time.Time) (map[string]int64, error) {
	begin := since.Add(-24 * time.Hour) // the clocks of hosts differ
	seed := kgo.SeedBrokers(brokers...)
	connection, err := kgo.NewClient(seed)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	admin := kadm.NewClient(connection)
	starts, err := admin.ListStartOffsets(ctx, topic)
	places, err2 := admin.ListOffsetsAfterMilli(ctx, max(0, begin.UnixMilli()), topic)
	ends, err3 := admin.ListCommittedOffsets(ctx, topic)
	if err := errors.Join(err, err2, err3, starts.Error(), places.Error(), ends.Error()); err != nil {
		return nil, err
	}
	unread := map[int32]int64{} // partitions and where they end as of now
	for partition, place := range places[topic] {
		if start := starts[topic][partition].Offset; start > 0 && place.Offset == start {
			return nil, fmt.Errorf("position lost: partition %d may have held rows since %s that have aged out", partition, begin)
		}
		if end := ends[topic][partition].Offset; place.Offset < end {
			unread[partition] = end
		}
	}
	reader, err := kgo.NewClient(seed, kgo.ConsumePartitions(places.KOffsets()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()) // the last record may be a control record
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	cost, seen, commits := map[string]int64{}, map[schemas.Id]bool{}, map[string]string{}
	for len(unread) > 0 {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for r := range fetches.RecordsAll() {
			if r.Offset+1 >= unread[r.Partition] {
				delete(unread, r.Partition)
			}
			if r.Attrs.IsControl() {
				continue
			}
			headers := map[string]string{}
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			row, err := decode(r.Value, headers["flightlog-schema"])
			if err != nil {
				return nil, err
			}
			source := fmt.Sprintf("%d %s/%s", r.Partition, headers["flightlog-processor"], headers["flightlog-source-partition"])
			commit, previous := headers["flightlog-commit"], headers["flightlog-previous-commit"]
			if last, ok := commits[source]; ok && last != commit && last != previous {
				return nil, fmt.Errorf("position lost: %s goes on after %s, not %s", source, previous, last)
			}
			commits[source] = commit
			if !seen[row.RowId] && row.OccurredAt >= since.UnixMicro() {
				cost[row.Repo] += int64(row.Sign) * row.CostNanoUsd.Value
			}
			seen[row.RowId] = true // each once
		}
	}
	return cost, nil
}

// decode reads a row; schema is its fingerprint where the value does not say it.
func decode(value []byte, schema string) (row schemas.Enriched, err error) {
	if len(value) == 0 || value[0] != 0 { // C3 01, the schema's fingerprint, the record
		err = row.DecodeMessage(value)
		return row, err
	}
	// Confluent's format: 00, the registry's id of the schema, the record.
	written, err := strconv.ParseUint(schema, 16, 64)
	if err != nil || len(value) < 5 {
		return row, fmt.Errorf("%d bytes of schema %q are no row: %w", len(value), schema, err)
	}
	record, err := schemas.Resolve(written, schemas.EnrichedFingerprint, value[5:])
	if err == nil {
		_, err = row.DecodeAvro(record)
	}
	return row, err
}
