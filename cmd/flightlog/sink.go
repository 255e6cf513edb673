package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/sinks/delivery"
	"github.com/flightlog/flightlog/sinks/openobserve"
)

func sinkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "sink",
		Short: "Load the rows of the topics into a store: openobserve, files",
	}
	c.AddCommand(sinkOpenObserveCommand(), sinkFilesCommand())
	return c
}

// Environment variables that hold passwords where no file does.
const (
	openobservePassword      = "FLIGHTLOG_OPENOBSERVE_PASSWORD"
	openobserveAdminPassword = "FLIGHTLOG_OPENOBSERVE_ADMIN_PASSWORD"
)

// openobserveFlags say which OpenObserve, and as whom.
type openobserveFlags struct {
	url, org, streams, caFile    string
	user, passwordFile           string
	adminUser, adminPasswordFile string
	window                       time.Duration
}

// flags adds those that every command has that speaks to OpenObserve.
func (o *openobserveFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.url, "openobserve", "", "URL of OpenObserve, e.g. https://openobserve.example.com")
	f.StringVar(&o.org, "openobserve-org", openobserve.DefaultOrg, "its organisation")
	f.StringVar(&o.streams, "openobserve-streams", openobserve.DefaultStreams, "begins the name of every stream")
	f.StringVar(&o.caFile, "openobserve-ca-file", "", "PEM of the authorities that its certificate is checked against")
	f.StringVar(&o.adminUser, "openobserve-admin-user", "", "account that makes streams and dashboards, and asks which rows are stored")
	f.StringVar(&o.adminPasswordFile, "openobserve-admin-password-file", "", "file that holds its password, or the token of a service account (or "+openobserveAdminPassword+" in the environment)")
}

// loadingFlags adds those of a command that loads rows.
func (o *openobserveFlags) loadingFlags(c *cobra.Command) {
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.user, "openobserve-user", "", "account that rows are sent with (default the admin account)")
	f.StringVar(&o.passwordFile, "openobserve-password-file", "", "file that holds its password: best the ingestion passcode, which is good for nothing else (or "+openobservePassword+" in the environment)")
	f.DurationVar(&o.window, "openobserve-window", 0, "accept a server that takes rows this old at the most, e.g. 5h: older ones become dead letters (default it must take rows as old as the topics keep them)")
}

func (o *openobserveFlags) config(generation int64) openobserve.Config {
	c := openobserve.Config{URL: o.url, Org: o.org, Streams: o.streams, CAFile: o.caFile, Generation: generation,
		Loading: account(o.user, o.passwordFile, openobservePassword),
		Admin:   account(o.adminUser, o.adminPasswordFile, openobserveAdminPassword)}
	if o.user == "" {
		c.Loading = c.Admin
	}
	return c
}

// account has its password from the file, or else from the environment.
func account(user, file, variable string) openobserve.Account {
	a := openobserve.Account{User: user, PasswordFile: file}
	if user != "" && file == "" {
		a.Password = os.Getenv(variable)
	}
	return a
}

// sinkOptions are the flags of sink openobserve beside those of the place.
type sinkOptions struct {
	openobserveFlags
	topics   []string
	skipLost bool
}

func (o *sinkOptions) flags(c *cobra.Command) {
	o.loadingFlags(c)
	c.Flags().StringSliceVar(&o.topics, "topics", delivery.Topics, "topics to load")
	c.Flags().BoolVar(&o.skipLost, "skip-lost", false, "where rows have aged out of a topic before they were loaded, go on with what is still there; a dead letter names the gap")
}

func sinkOpenObserveCommand() *cobra.Command {
	var at place
	var o sinkOptions
	var admin string
	c := &cobra.Command{
		Use:   "openobserve",
		Short: "Load rows into OpenObserve, sharing the partitions with others",
		Long: `Loads the rows of the public topics into OpenObserve: every row at least once,
each with its row_id, so that a query that takes one row for each is exact
(docs/openobserve.md). Start it as often as you like; the workers share the
partitions. 'flightlog provision openobserve' makes the streams first.

While the server is down or overloaded nothing is read and nothing is lost. A row
that can never be stored becomes a dead letter with the row in it: 'flightlog
deadletters' shows and re-drives them. Wrong credentials end it with an error.

Without --broker it loads what the 'flightlog up' on the data folder makes.`,
		Example: `  flightlog sink openobserve --openobserve https://o2.internal --broker nats://nats.internal:4222 \
    --openobserve-user sink@example.com --openobserve-password-file passcode \
    --openobserve-admin-user admin@example.com --openobserve-admin-password-file password`,
		Args:        cobra.NoArgs,
		Annotations: map[string]string{serves: "yes"},
		RunE: func(c *cobra.Command, _ []string) error {
			if o.url == "" {
				return fmt.Errorf("give --openobserve, the URL of the server")
			}
			a, err := serveAdmin(c.Context(), admin)
			if err != nil {
				return err
			}
			defer a.Close()
			began := func() { fmt.Fprintf(c.ErrOrStderr(), "flightlog loads into %s%s\n", o.url, a.where()) }
			return serve(c.Context(), &at, began, func(ctx context.Context, in *installation) error {
				return in.load(ctx, o, a)
			})
		},
	}
	at.flags(c)
	o.flags(c)
	adminFlag(c, &admin)
	return c
}

// load loads the topics into OpenObserve until ctx ends.
func (in *installation) load(ctx context.Context, o sinkOptions, a *admin) error {
	need := o.window
	if need == 0 {
		var err error
		if need, err = in.longestKept(ctx, o.topics); err != nil {
			return err
		}
	}
	sink, err := openobserve.Open(ctx, o.config(in.broker.Generation()), o.topics, need)
	if err != nil {
		return err
	}
	defer sink.Close()
	err = delivery.Run(ctx, delivery.Config{
		Broker: in.broker, Destination: sink, Group: "openobserve", Worker: workerName(),
		Topics: o.topics, Window: sink.Window().Back, SkipLost: o.skipLost,
		Metrics: a.sinks, Status: a.loading(),
	})
	if errors.Is(err, broker.ErrNotProvisioned) {
		err = fmt.Errorf("%w ('flightlog provision broker' makes what is missing)", err)
	}
	return err
}

// longestKept is the longest time that a message of the topics is kept, and so
// the greatest age of a row that was just appended when it was made.
func (in *installation) longestKept(ctx context.Context, topics []string) (time.Duration, error) {
	k, ok := in.broker.(keeper)
	if !ok {
		return 0, nil
	}
	var kept []time.Duration
	for _, topic := range slices.Concat(topics, []string{broker.Enriched}) {
		d, err := k.Kept(ctx, topic)
		if err != nil {
			return 0, err
		}
		kept = append(kept, d)
	}
	return slices.Max(kept), nil
}
