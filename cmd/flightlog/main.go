// Flightlog is the flight recorder for coding agents: it keeps the record of
// what they really did, as events on a message broker, joined and priced.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker/failpoint"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if censusErr := failpoint.Census(); censusErr != nil {
		err = errors.Join(err, censusErr)
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "flightlog: interrupted; nothing is lost, run it again to go on")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flightlog:", err)
		os.Exit(1)
	}
}

// serves is the annotation of a command that runs for long: it logs what it does.
const serves = "serves"

func command() *cobra.Command {
	var verbose, jsonLogs bool
	root := &cobra.Command{
		Use:   "flightlog",
		Short: "The flight recorder for coding agents",
		Long: `Flightlog keeps the record of what coding agents really did: which tools ran,
which files changed, what it cost, what failed and who approved what.

  flightlog demo                        see it work on recorded sessions
  flightlog import ~/.claude/projects   read the sessions on this machine
  flightlog up                          run the pipeline: broker, processors, sinks
  flightlog tasks                       what the agents worked on, and what came of it
  flightlog findings                    what the detectors found
  flightlog tail enriched               look at the rows

Nothing leaves this machine, and in the default capture mode (metadata) no text
of prompts, arguments, outputs or answers is kept.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if err := settle(c); err != nil {
				return err
			}
			options := slog.HandlerOptions{Level: slog.LevelWarn}
			if c.Annotations[serves] != "" {
				options.Level = slog.LevelInfo
			}
			if verbose {
				options.Level = slog.LevelDebug
			}
			var handler slog.Handler = slog.NewTextHandler(os.Stderr, &options)
			if jsonLogs {
				handler = slog.NewJSONHandler(os.Stderr, &options)
			}
			slog.SetDefault(slog.New(handler))
			return nil
		},
	}
	root.PersistentFlags().BoolVarP(&verbose, "verbose", "v", false, "log what happens inside, on stderr")
	root.PersistentFlags().BoolVar(&jsonLogs, "json-logs", false, "log in JSON")
	root.PersistentFlags().String(configFlag, "", "YAML file with settings: names of flags and their values; FLIGHTLOG_NAME in the environment goes before it")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(upCommand(), importCommand(), demoCommand(), tailCommand(), topicsCommand(), processCommand(), sinkCommand(), deadLettersCommand(), verifyCommand(), pricesCommand(), directoryCommand(), provisionCommand(), rebuildCommand(), spendCommand(), tasksCommand(), findingsCommand(), rulesCommand(), backtestCommand(), loadtestCommand(), versionCommand())
	return root
}
