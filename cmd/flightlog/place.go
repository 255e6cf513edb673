package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flightlog/flightlog/broker/jetstream"
)

// place says where an installation is: a data folder on this machine, or a
// broker elsewhere.
type place struct {
	data       string
	broker     string // nats://, tls:// or kafka://; empty = the data folder
	prefix     string
	generation int64

	caFile, certFile, keyFile  string
	credentialsFile, tokenFile string // NATS
}

// flags adds the flags of a command that works on either.
func (p *place) flags(c *cobra.Command) {
	dataFlag(c, &p.data)
	p.brokerFlags(c)
}

// brokerFlags adds the flags that name a broker.
func (p *place) brokerFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.broker, "broker", "", "broker instead of the data folder's: nats://HOST:4222[,...], tls://...")
	f.StringVar(&p.prefix, "prefix", "flightlog", "begins the name of every stream and topic on the broker")
	f.Int64Var(&p.generation, "generation", 1, "generation of log, state and rows to work on")
	f.StringVar(&p.caFile, "ca-file", "", "PEM of the authorities that the broker's certificate is checked against")
	f.StringVar(&p.certFile, "cert-file", "", "PEM of this client's certificate")
	f.StringVar(&p.keyFile, "key-file", "", "PEM of its key")
	f.StringVar(&p.credentialsFile, "credentials-file", "", "NATS: credentials file (.creds)")
	f.StringVar(&p.tokenFile, "token-file", "", "NATS: file that holds a token")
}

func (p *place) jetstream() jetstream.Config {
	return jetstream.Config{URL: p.broker, Prefix: p.prefix, Generation: p.generation,
		CredentialsFile: p.credentialsFile, TokenFile: p.tokenFile,
		CAFile: p.caFile, CertFile: p.certFile, KeyFile: p.keyFile}
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
		err = fmt.Errorf("no 'flightlog up' runs on %s: run it first, or give --broker", folder)
	}
	return in, err
}

func (p *place) connect(ctx context.Context) (*installation, error) {
	scheme, _, _ := strings.Cut(p.broker, "://")
	switch scheme {
	case "nats", "tls":
		b, err := jetstream.Connect(ctx, p.jetstream())
		if err != nil {
			return nil, err
		}
		if _, err := b.Partitions(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("%w (flightlog provision broker makes what is missing)", err), b.Close())
		}
		return &installation{broker: b}, nil
	}
	return nil, p.unknown()
}

func (p *place) unknown() error {
	return fmt.Errorf("cannot use --broker %q: must begin with nats:// or tls://", p.broker)
}
