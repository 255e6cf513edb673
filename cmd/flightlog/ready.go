package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A container's health check runs inside the container, and the image holds the
// one binary: no shell, no curl. So the command that serves can ask, too: with
// --ready and otherwise the same flags and environment it runs nothing, and
// tells whether the process that does is ready. That needs no command beyond
// those of DESIGN §2 (doctor looks at a machine, not at one process on it), and
// no address in a second place that could be another one.

// readyFlag adds --ready to a command that serves at --admin.
func readyFlag(c *cobra.Command, address *string) {
	var ask bool
	c.Flags().BoolVar(&ask, "ready", false, "run nothing: ask the process that serves at --admin whether it is ready, and end with 0 or 1 (for health checks)")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if ask {
			return askReady(c.Context(), *address)
		}
		return run(c, args)
	}
}

// readyPatience is how long an answer may take.
const readyPatience = 5 * time.Second

// askReady is an error unless who serves at the address is ready.
func askReady(ctx context.Context, address string) error {
	if address == "" || strings.HasSuffix(address, ":0") {
		return fmt.Errorf("cannot ask at --admin %q: give the address that the process was given, with its port", address)
	}
	if err := onLoopback(address); err != nil {
		return fmt.Errorf("cannot use --admin %q: %w", address, err)
	}
	ctx, stop := context.WithTimeout(ctx, readyPatience)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request) // by no proxy
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if answer.StatusCode != http.StatusOK {
		err = errors.Join(fmt.Errorf("not ready: %s", strings.TrimSpace(string(text))), err)
	}
	return err
}
