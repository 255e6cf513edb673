//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/processors/pricing"
)

// Between faults the prices, the directory and the rules change and facts are
// restated; at the end the list is the builtin one again, so that what the load knows of the
// recordings' bills holds.

// applied are the last versions of each kind.
type applied map[string]int64

// early is when a version takes effect after it was applied: soon, and later
// than any reader is behind.
const early = 8 * time.Second

// configure makes one change of the configuration, another with each turn.
func (r *run) configure(ctx context.Context, b broker.Broker, turn int) error {
	switch turn % 7 {
	case 0, 3:
		return r.apply(ctx, b, "prices", prices(int64(3+turn%5), 50+turn%50))
	case 1:
		return r.apply(ctx, b, "directory", fmt.Appendf(nil, "user,team,billing\ndev,team-%d,api\n*,everybody-%d,\n", turn, turn))
	case 4:
		return r.apply(ctx, b, "directory", fmt.Appendf(nil, "user,team,billing\n*,moved-%d,subscription\n", turn))
	case 6:
		return r.apply(ctx, b, "rules", fmt.Appendf(nil, "defaults: {owner: turn-%d, loop: {single: %d}, protected_path: {classes: {own: {severity: critical, paths: [src/**]}}}}\n", turn, 3+turn%3))
	case 2:
		return r.restate(ctx, b, "prices", time.Now().Add(-10*time.Second).UnixMicro(), turn)
	default:
		return r.restate(ctx, b, []string{"prices", "directory"}[turn/7%2], 0, turn)
	}
}

// reset restates everything by the builtin list, with a contract, and the last
// directory.
func (r *run) reset(ctx context.Context, b broker.Broker) error {
	if err := r.apply(ctx, b, "prices", prices(1, 90)); err != nil {
		return err
	}
	for _, kind := range []string{"prices", "directory"} {
		if err := r.restate(ctx, b, kind, 0, -1); err != nil {
			return err
		}
	}
	return nil
}

// prices are the builtin list, output times a factor, and a contract.
func prices(factor int64, percent int) []byte {
	list, _ := pricing.Builtin().Rows()
	rows := append([]pricing.Row(nil), list...)
	for i := range rows {
		rows[i].Output *= factor
	}
	text, err := json.Marshal(map[string]any{
		"unit": "nano-USD per token, and per search", "rows": rows,
		"contracted": []map[string]any{{"models": []string{"*"}, "percent_of_list": percent, "known_from": "2026-01-01", "source": "chaos"}},
	})
	if err == nil {
		_, err = pricing.Parse(text, 2)
	}
	if err != nil {
		panic(err)
	}
	return text
}

func (r *run) apply(ctx context.Context, b broker.Broker, kind string, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	// The time that it takes to point every partition to it is given as past.
	now := time.Now().Add(early - time.Minute).UnixMicro()
	err := until(ctx, 100*time.Millisecond, kind+" in every partition", func(ctx context.Context) error {
		version, _, err := engine.ApplyConfig(ctx, b, kind, text, "chaos", now)
		if err == nil {
			r.applied[kind] = version
		}
		return err
	})
	if err == nil {
		r.count(func(s *result) { s.Configs++ })
	}
	return err
}

// restate tells the facts since a time by the last version.
func (r *run) restate(ctx context.Context, b broker.Broker, kind string, since int64, turn int) error {
	version := r.applied[kind]
	if version == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	asked := time.Now().UnixMicro()
	err := until(ctx, 100*time.Millisecond, "restatement in every partition", func(ctx context.Context) error {
		_, err := engine.Restate(ctx, b, engine.Restatement{Kind: kind, Version: version, Since: since, Reason: fmt.Sprint("turn ", turn), Asked: asked})
		return err
	})
	if err == nil {
		r.count(func(s *result) { s.Restatements++ })
	}
	return err
}
