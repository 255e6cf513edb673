package main

import (
	"cmp"
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
	return family(c)
}

// family makes a command that only has others below it refuse one that it has
// not.
func family(c *cobra.Command) *cobra.Command {
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
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
	topics    []string
	group     string
	sameStore bool
	skipLost  bool
}

func (o *sinkOptions) flags(c *cobra.Command) {
	o.loadingFlags(c)
	c.Flags().StringSliceVar(&o.topics, "topics", delivery.Topics, "topics to load")
	c.Flags().StringVar(&o.group, "group", "openobserve", "name of the sink, which owns how far each topic was loaded: workers of one name share the work, another name loads everything that the topics hold")
	c.Flags().BoolVar(&o.sameStore, "same-store", false, "the group goes on although its address, organisation or streams have changed: it is the same store")
	c.Flags().BoolVar(&o.skipLost, "skip-lost", false, "where rows have gone from a topic before they were loaded, go on with what is still there; a dead letter names the gap")
}

// check reports what is wrong before anything is begun or printed.
func (o *sinkOptions) check() error {
	config := o.config(1)
	errs := []error{config.Validate()}
	if o.user == "" && o.passwordFile != "" {
		errs = append(errs, errors.New("--openobserve-password-file goes with --openobserve-user"))
	}
	if !config.Loading.IsSet() {
		errs = append(errs, errors.New("give --openobserve-user or --openobserve-admin-user"))
	}
	if len(o.topics) == 0 {
		errs = append(errs, errors.New("--topics: names none"))
	}
	load := delivery.Config{Topics: o.topics, Group: o.group}
	return errors.Join(append(errs, load.Validate())...)
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
			if err := o.check(); err != nil {
				return err
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
	kept, err := in.longestKept(ctx, o.topics)
	if err != nil {
		return err
	}
	need := cmp.Or(o.window, kept)
	sink, err := openobserve.Open(ctx, o.config(in.broker.Generation()), o.topics, need)
	if err != nil {
		return err
	}
	defer sink.Close()
	err = delivery.Run(ctx, delivery.Config{
		Broker: in.broker, Destination: sink, Group: o.group, Worker: workerName(),
		Topics: o.topics, Window: min(sink.Window().Back, kept), SkipLost: o.skipLost,
		Store: sink.Name(), SameStore: o.sameStore,
		Metrics: a.sinks, Status: a.loading(),
	})
	if errors.Is(err, broker.ErrNotProvisioned) {
		err = fmt.Errorf("%w ('flightlog provision broker' makes what is missing)", err)
	}
	return err
}

// forEver stands for a topic that is kept so: as long as OpenObserve keeps rows
// unless it is set up otherwise (ZO_COMPACT_DATA_RETENTION_DAYS).
const forEver = 3650 * 24 * time.Hour

// longestKept is the longest time that a message of the topics is kept, and so
// how long a row may wait to be loaded.
func (in *installation) longestKept(ctx context.Context, topics []string) (time.Duration, error) {
	k, ok := in.broker.(keeper)
	if !ok {
		return forEver, nil
	}
	var kept []time.Duration
	for _, topic := range slices.Concat(topics, []string{broker.Enriched}) {
		d, err := k.Kept(ctx, topic)
		if err != nil {
			return 0, err
		}
		kept = append(kept, cmp.Or(d, forEver))
	}
	return slices.Max(kept), nil
}
