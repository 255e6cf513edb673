package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker"
	"github.com/flightlog/flightlog/broker/jetstream"
	"github.com/flightlog/flightlog/broker/kafka"
)

// place says where an installation is: a data folder on this machine, or a
// broker elsewhere.
type place struct {
	data       string
	broker     string // nats://, tls:// or kafka://; empty = the data folder
	prefix     string
	generation int64

	leaseTime time.Duration
	snapshots int64 // commits between two, NATS

	caFile, certFile, keyFile  string
	credentialsFile, tokenFile string // NATS

	transactionTimeout           time.Duration // Kafka, as the rest
	tls                          bool
	sasl, saslUser, saslPassword string // the password's file
	registry                     string
}

// flags adds the flags of a command that works on either.
func (p *place) flags(c *cobra.Command) {
	dataFlag(c, &p.data)
	p.brokerFlags(c)
}

// brokerFlags adds the flags that name a broker.
func (p *place) brokerFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.broker, "broker", "", "broker instead of the data folder's: nats://HOST:4222, tls://HOST:4222 or kafka://HOST:9092, several with commas")
	f.StringVar(&p.prefix, "prefix", "flightlog", "begins the name of every stream and topic on the broker")
	f.Int64Var(&p.generation, "generation", 1, "generation of log, state and rows to work on")
	f.DurationVar(&p.leaseTime, "lease-time", 0, "how long a dead worker keeps its partitions (default 10s; on NATS 'provision broker' sets it, on Kafka each worker)")
	f.StringVar(&p.caFile, "ca-file", "", "PEM of the authorities that the broker's certificate is checked against")
	f.StringVar(&p.certFile, "cert-file", "", "PEM of this client's certificate")
	f.StringVar(&p.keyFile, "key-file", "", "PEM of its key")
	f.StringVar(&p.credentialsFile, "credentials-file", "", "NATS: credentials file (.creds)")
	f.StringVar(&p.tokenFile, "token-file", "", "NATS: file that holds a token")
	f.Int64Var(&p.snapshots, "snapshot-commits", 0, "NATS: a worker takes a snapshot of a partition's state after so many commits (default 1000), or 64 MiB of them")
	f.BoolVar(&p.tls, "tls", false, "Kafka: encrypt the connections")
	f.StringVar(&p.sasl, "sasl", "", "Kafka: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	f.StringVar(&p.saslUser, "sasl-user", "", "Kafka: user")
	f.StringVar(&p.saslPassword, "sasl-password-file", "", "Kafka: file that holds the password")
	f.DurationVar(&p.transactionTimeout, "transaction-timeout", 0, "Kafka: how long a transaction that hangs may hold readers back (default 10s)")
	f.StringVar(&p.registry, "registry", "", "Kafka: URL of a schema registry; rows are then written in Confluent's wire format")
}

// servers are the addresses in --broker, and its scheme.
func (p *place) servers() (scheme string, addresses []string) {
	scheme, rest, _ := strings.Cut(p.broker, "://")
	for server := range strings.SplitSeq(rest, ",") {
		_, address, ok := strings.Cut(server, "://")
		if !ok {
			address = server
		}
		addresses = append(addresses, address)
	}
	return scheme, addresses
}

func (p *place) jetstream() jetstream.Config {
	scheme, addresses := p.servers()
	for i := range addresses {
		addresses[i] = scheme + "://" + addresses[i]
	}
	return jetstream.Config{URL: strings.Join(addresses, ","), Prefix: p.prefix, Generation: p.generation, LeaseTTL: p.leaseTime, SnapshotCommits: p.snapshots,
		CredentialsFile: p.credentialsFile, TokenFile: p.tokenFile,
		CAFile: p.caFile, CertFile: p.certFile, KeyFile: p.keyFile}
}

func (p *place) kafka() kafka.Config {
	_, addresses := p.servers()
	return kafka.Config{Brokers: addresses, Prefix: p.prefix, Generation: p.generation,
		SessionTimeout: p.leaseTime, TransactionTimeout: p.transactionTimeout,
		TLS: p.tls, CAFile: p.caFile, CertFile: p.certFile, KeyFile: p.keyFile,
		SASL: p.sasl, User: p.saslUser, PasswordFile: p.saslPassword, RegistryURL: p.registry}
}

// open reaches the installation: a broker elsewhere, the up that runs on the
// data folder, or else a broker that this process runs.
func (p *place) open(ctx context.Context) (*installation, error) {
	if p.broker != "" {
		return p.connect(ctx)
	}
	folder, err := dataFolder(p.data)
	if err != nil {
		return nil, err
	}
	return startOrJoin(ctx, folder, p.generation)
}

// look is open for what only reads: it makes nothing.
func (p *place) look(ctx context.Context) (*installation, error) {
	if p.broker == "" {
		folder, err := dataFolder(p.data)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(filepath.Join(folder, "broker")); err != nil {
			return nil, fmt.Errorf("there is no data in %s: run 'flightlog up' or 'flightlog import' first", folder)
		}
	}
	return p.open(ctx)
}

// reach is open for what makes no sense on a broker of its own.
func (p *place) reach(ctx context.Context) (*installation, error) {
	if p.broker != "" {
		return p.connect(ctx)
	}
	folder, err := dataFolder(p.data)
	if err != nil {
		return nil, err
	}
	in, err := join(ctx, folder, p.generation)
	if errors.Is(err, errRunning) {
		err = fmt.Errorf("%w on %s: run it first, or give --broker", errNoUp, folder)
	}
	return in, err
}

// errNoUp: nobody runs the broker of a data folder for others.
var errNoUp = errors.New("no 'flightlog up' runs")

func (p *place) connect(ctx context.Context) (*installation, error) {
	var b broker.Broker
	var err error
	switch scheme, _ := p.servers(); scheme {
	case "nats", "tls":
		b, err = jetstream.Connect(ctx, p.jetstream())
	case "kafka":
		b, err = kafka.Connect(ctx, p.kafka())
	default:
		err = p.unknown()
	}
	if err != nil {
		return nil, err
	}
	if _, err := b.Partitions(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w ('flightlog provision broker' makes what is missing)", err), b.Close())
	}
	in := &installation{broker: b}
	if err := in.hasGeneration(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return in, nil
}

func (p *place) unknown() error {
	return fmt.Errorf("cannot use --broker %q: must begin with nats://, tls:// or kafka://", p.broker)
}

// provisioner is what plans and makes a layout on the kind of broker that the
// place names.
func (p *place) provisioner(l brokerLayout) (plan func(context.Context) ([]string, error), provision func(context.Context) error, err error) {
	switch scheme, _ := p.servers(); scheme {
	case "nats", "tls":
		config := p.jetstream()
		config.Layout = jetstream.Layout{Replicas: l.replicas, EventsAge: l.eventsAge, RowsAge: l.rowsAge, EventsBytes: l.eventsBytes}
		return func(ctx context.Context) ([]string, error) { return jetstream.Plan(ctx, config, l.partitions) },
			func(ctx context.Context) error { return jetstream.Provision(ctx, config, l.partitions) }, nil
	case "kafka":
		config := p.kafka()
		config.Layout = kafka.Layout{ReplicationFactor: l.replicas, EventsAge: l.eventsAge, RowsAge: l.rowsAge, CompactionLag: l.commitsAge}
		return func(ctx context.Context) ([]string, error) { return kafka.Plan(ctx, config, l.partitions) },
			func(ctx context.Context) error { return kafka.Provision(ctx, config, l.partitions) }, nil
	}
	return nil, nil, p.unknown()
}
