package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/loadtest/recordings"
)

func demoCommand() *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "See it work: real recorded sessions through the whole pipeline",
		Long: `Unpacks the recorded Claude Code sessions that come with Flightlog and imports
them into a data folder of the demo's own, through the embedded broker and the
processors, as 'flightlog import' does with the sessions of this machine.
` + shiftHelp + ` The
data folder is a new one each time, so it can be given every time.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return demo(c.Context(), c, o) },
	}
	c.Flags().StringVar(&o.out, "out", "", "folder for the rows (default a new temporary folder)")
	c.Flags().StringVar(&o.mode, "capture", "metadata", "what of the texts is kept: metadata, redacted or full")
	c.Flags().BoolVar(&o.json, "json", false, "print the summary as JSON")
	shiftFlag(c, &o.shiftToNow)
	return c
}

func demo(ctx context.Context, c *cobra.Command, o importOptions) error {
	work, err := os.MkdirTemp("", "flightlog-demo-*")
	if err != nil {
		return fmt.Errorf("cannot make a folder for the demo: %w", err)
	}
	if o.out == "" {
		o.out = filepath.Join(work, "rows")
	}
	input := filepath.Join(work, "recordings")
	defer os.RemoveAll(input)
	if err := recordings.Unpack(input); err != nil {
		return fmt.Errorf("cannot unpack the recordings: %w", err)
	}
	o.data, o.org = filepath.Join(work, "data"), "demo"
	if !o.json {
		fmt.Fprintf(c.OutOrStdout(), "%d recorded scenarios of Claude Code, each with hooks, transcripts and OTLP as its client emitted them\n\n", len(recordings.Scenarios()))
	}
	if err := runImport(ctx, c, []string{input}, o); err != nil {
		return err
	}
	if !o.json {
		fmt.Fprintf(c.OutOrStdout(), "look:  %s tail enriched --data %s --where kind=tool_call\n", os.Args[0], o.data)
	}
	return nil
}
