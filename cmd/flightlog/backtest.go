package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/processors/engine"
	"github.com/flightlog/flightlog/producers"
	"github.com/flightlog/flightlog/producers/redaction"
	"github.com/flightlog/flightlog/producers/shipper"
	"github.com/flightlog/flightlog/schemas"
)

func backtestCommand() *cobra.Command {
	var at place
	var rulesFile, since string
	var asJSON bool
	c := &cobra.Command{
		Use:   "backtest --rules FILE PATH... | --since D",
		Short: "Say what rules would have found in recorded or stored sessions",
		Long: `Brings sessions through the same processors twice, in a temporary folder, once by
the rules of a file and once by those in force, and says what either finds, by kind
and by repository. Nothing is published and nothing is kept.

PATH is what import takes: transcripts, folders of recordings, archives. --since
takes the events that this installation's broker still holds (30 days by default).`,
		Example: `  flightlog backtest --rules rules.yaml ~/.claude/projects
  flightlog backtest --rules rules.yaml --since 168h --json`,
		RunE: func(c *cobra.Command, paths []string) error {
			if rulesFile == "" || (len(paths) == 0) == (since == "") {
				return errors.New("give --rules FILE, and either paths or --since")
			}
			text, _, err := readRules(rulesFile)
			if err != nil {
				return err
			}
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			_, inForce, err := rulesInForce(c.Context(), &at, "")
			if err != nil {
				return err
			}
			b := backtest{ctx: c.Context(), paths: paths, since: from}
			if since != "" {
				if b.stored, err = at.look(c.Context()); err != nil {
					return err
				}
				defer b.stored.Close()
			}
			var r backtestReport
			if r.New, err = b.run(text); err != nil {
				return err
			}
			if r.Old, err = b.run(inForce); err != nil {
				return err
			}
			return r.print(c.OutOrStdout(), asJSON)
		},
	}
	at.flags(c)
	c.Flags().StringVar(&rulesFile, "rules", "", "rules file to try")
	c.Flags().StringVar(&since, "since", "", "events that are stored, from then on: a duration (168h), a day or a time")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, with every finding")
	return c
}

// backtest is where the events come from.
type backtest struct {
	ctx    context.Context
	paths  []string
	since  int64
	stored *installation
}

// run is what rules find in the events, through an installation of its own.
func (b *backtest) run(rules []byte) ([]schemas.Finding, error) {
	folder, err := os.MkdirTemp("", "flightlog-backtest-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	in, err := start(b.ctx, folder, "", 1)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	const before = time.Hour // rules that are applied hold from a minute later on
	if _, _, err := engine.ApplyConfig(b.ctx, in.broker, "rules", rules, "backtest", time.Now().Add(-before).UnixMicro()); err != nil {
		return nil, err
	}
	ctx, stop := in.processBeside(b.ctx)
	defer stop()
	ship, err := shipper.New(ctx, in.broker, localOrg, "backtest", time.Now().UnixMicro())
	if err != nil {
		return nil, err
	}
	f := newFeed(ctx, ship)
	if b.stored != nil {
		err = b.readStored(f)
	} else {
		err = b.readPaths(ctx, f)
	}
	if err = errors.Join(err, f.end()); err != nil {
		return nil, cause(ctx, err)
	}
	if err := in.settled(ctx, ship); err != nil {
		return nil, cause(ctx, err)
	}
	all, err := findings(ctx, in.broker)
	return slices.DeleteFunc(all, func(f schemas.Finding) bool { return f.State == schemas.FindingStateWithdrawn }), err
}

func (b *backtest) readPaths(ctx context.Context, f *feed) error {
	sources, err := findSources(b.paths)
	if err != nil {
		return err
	}
	if len(sources) == 0 {
		return fmt.Errorf("nothing to try the rules on under %q", b.paths)
	}
	sink := redaction.NewSink(schemas.CaptureModeMetadata, f)
	for i, s := range sources {
		var to producers.Sink = sink
		if s.kind == archiveSource {
			to = f
		}
		if err := s.read(ctx, to); err != nil {
			return err
		}
		if i+1 == len(sources) || sources[i+1].group != s.group {
			if err := f.endGroup(); err != nil {
				return err
			}
		}
	}
	return nil
}

// readStored reads the events of the installation's broker.
func (b *backtest) readStored(f *feed) error {
	n, err := b.stored.broker.Partitions(b.ctx)
	if err != nil {
		return err
	}
	for p := range n {
		for _, lane := range []schemas.Lane{schemas.LaneCritical, schemas.LaneNormal} {
			err := broker.Scan(b.ctx, b.stored.broker, broker.Log{Topic: broker.Events, Partition: p, Lane: lane}, func(m broker.Message) error {
				return eachEvent(m.Payload, func(e *schemas.Event) error {
					if e.OccurredAt < b.since {
						return nil
					}
					return f.Event(e)
				})
			})
			if err != nil {
				return err
			}
		}
		if err := f.endGroup(); err != nil {
			return err
		}
	}
	return nil
}

// eachEvent calls each with the events of a message that can be read; control
// records and others are passed over.
func eachEvent(payload []byte, each func(*schemas.Event) error) error {
	fingerprint, _ := schemas.MessageFingerprint(payload)
	if schemas.FingerprintName(fingerprint) != "Frame" {
		return nil
	}
	var f schemas.Frame
	if err := f.DecodeMessage(payload); err != nil {
		return nil // a dead letter of its processor
	}
	for i := range f.Segments {
		for _, encoded := range f.Segments[i].Events {
			encoded, err := schemas.Resolve(uint64(f.Segments[i].Schema), schemas.EventFingerprint, encoded)
			if err != nil {
				continue
			}
			e := new(schemas.Event)
			if _, err := e.DecodeAvro(encoded); err != nil {
				continue
			}
			if err := each(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// backtestReport is what the rules of the file (New) and those in force (Old)
// find.
type backtestReport struct{ New, Old []schemas.Finding }

// backtestLine counts the findings of a kind in a repository.
type backtestLine struct {
	Kind string `json:"kind"`
	Repo string `json:"repo"`
	New  int    `json:"new"`      // by the file
	Old  int    `json:"in_force"` // by the rules in force
}

func (r *backtestReport) lines() []backtestLine {
	type key struct{ kind, repo string }
	counts := map[key]*backtestLine{}
	of := func(f *schemas.Finding) *backtestLine {
		k := key{f.Kind, f.Repo}
		if counts[k] == nil {
			counts[k] = &backtestLine{Kind: f.Kind, Repo: f.Repo}
		}
		return counts[k]
	}
	for i := range r.New {
		of(&r.New[i]).New++
	}
	for i := range r.Old {
		of(&r.Old[i]).Old++
	}
	var lines []backtestLine
	for l := range maps.Values(counts) {
		lines = append(lines, *l)
	}
	slices.SortFunc(lines, func(a, b backtestLine) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Repo, b.Repo))
	})
	return lines
}

func (r *backtestReport) print(out io.Writer, asJSON bool) error {
	if asJSON {
		list := func(all []schemas.Finding) []rawJSON {
			raw := []rawJSON{}
			for i := range all {
				raw = append(raw, all[i].AppendJSON(nil))
			}
			return raw
		}
		return printJSON(out, map[string]any{"by_kind_and_repo": r.lines(), "new": list(r.New), "in_force": list(r.Old)})
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tREPO\tBY THE FILE\tIN FORCE\tDIFFERENCE")
	for _, l := range r.lines() {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%+d\n", l.Kind, printable(cmp.Or(l.Repo, "-")), l.New, l.Old, l.New-l.Old)
	}
	fmt.Fprintf(w, "all\t\t%d\t%d\t%+d\n", len(r.New), len(r.Old), len(r.New)-len(r.Old))
	return w.Flush()
}

// rawJSON is a text that is JSON.
type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }
