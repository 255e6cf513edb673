package kafka

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Config says which installation on which cluster. Zero values mean the default
// that a field names; nothing else is changed silently.
type Config struct {
	// Brokers to begin with, as host:port; the cluster names the others.
	Brokers []string

	// TLS encrypts connections; a file below does so too.
	TLS bool
	// CAFile is the PEM of the authorities that the brokers' certificates are
	// checked against; default: the system's.
	CAFile string
	// CertFile and KeyFile are this client's certificate, both or none.
	CertFile, KeyFile string

	// SASL is the mechanism: PLAIN (with TLS only), SCRAM-SHA-256 or
	// SCRAM-SHA-512; default: none.
	SASL string
	// User of SASL.
	User string
	// PasswordFile holds the password; white space around it is cut. One of the
	// two with SASL.
	PasswordFile string
	// Password that the caller has from its environment.
	Password string

	// RegistryURL of a schema registry without credentials: rows are written in
	// Confluent's wire format, their schemas stand under "<topic>-value".
	// Default: none, rows are single-object encoded.
	RegistryURL string

	// Prefix begins every name of the installation; default "flightlog".
	Prefix string
	// Generation of changelogs and row topics; default 1.
	Generation int64
	// Partitions that the caller counts on; 0 = what is provisioned.
	Partitions int
	// Timeout of one request; default 5 s.
	Timeout time.Duration
	// TransactionTimeout is how long a transaction of an owner that hangs may
	// hold readers back; default 10 s. The next owner ends it at once.
	TransactionTimeout time.Duration
	// SessionTimeout after which a worker that is not heard of loses its
	// partitions; default 10 s, and within what the cluster allows (6 s and more
	// unless it is set up otherwise).
	SessionTimeout time.Duration
	// Name of the connection as the cluster shows it; default "flightlog".
	Name string

	// Layout is what Provision goes by; a connection does not need it.
	Layout Layout
}

// Validate reports everything that is wrong, each with key, value and what
// would be right.
func (c *Config) Validate() error {
	errs := c.Layout.problems()
	wrong := func(key string, value any, right string) {
		errs = append(errs, fmt.Errorf("%s: %v: %s", key, value, right))
	}
	if len(c.Brokers) == 0 {
		wrong("brokers", "[]", "must name a broker such as 127.0.0.1:9092")
	}
	for _, broker := range c.Brokers {
		if host, port, err := net.SplitHostPort(broker); err != nil || host == "" || port == "" {
			wrong("brokers", broker, "must look like host:9092")
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		wrong("cert_file, key_file", fmt.Sprintf("%q, %q", c.CertFile, c.KeyFile), "must both be set or none")
	}
	passwords := 0
	for _, password := range []string{c.PasswordFile, c.Password} {
		if password != "" {
			passwords++
		}
	}
	switch c.SASL {
	case "":
		if c.User != "" || passwords > 0 {
			wrong("sasl", `""`, "must name a mechanism where there is a user or password")
		}
	case saslPlain, saslScram256, saslScram512:
		if c.User == "" {
			wrong("user", `""`, "must be set with sasl")
		}
		if passwords != 1 {
			wrong("password_file, password", passwords, "must be one of the two with sasl")
		}
		if c.SASL == saslPlain && !c.encrypted() {
			wrong("sasl", c.SASL, "must be together with tls, or the password is sent in clear")
		}
	default:
		wrong("sasl", c.SASL, "must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	}
	for _, file := range []struct{ key, path string }{
		{"ca_file", c.CAFile}, {"cert_file", c.CertFile}, {"key_file", c.KeyFile}, {"password_file", c.PasswordFile},
	} {
		if file.path == "" {
			continue
		}
		f, err := os.Open(file.path)
		if err != nil {
			wrong(file.key, file.path, "must be a file that can be read: "+err.Error())
			continue
		}
		f.Close()
	}
	if c.RegistryURL != "" {
		u, err := url.Parse(c.RegistryURL)
		switch {
		case err != nil || u.User != nil:
			wrong("registry_url", "(hidden)", "must be a URL without user or password")
		case u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			wrong("registry_url", c.RegistryURL, "must look like https://host:8081")
		}
	}
	if c.Prefix != "" && !prefixPattern.MatchString(c.Prefix) {
		wrong("prefix", c.Prefix, "must be letters, digits, - and _, at most 64")
	}
	if c.Generation < 0 {
		wrong("generation", c.Generation, "must be 1 or more")
	}
	if c.Partitions < 0 {
		wrong("partitions", c.Partitions, "must be 1 or more, or 0 for what is provisioned")
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"timeout", c.Timeout}, {"transaction_timeout", c.TransactionTimeout}, {"session_timeout", c.SessionTimeout},
	} {
		if d.value < 0 {
			wrong(d.key, d.value, "must be longer than 0")
		}
	}
	return errors.Join(errs...)
}

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Mechanisms of SASL.
const (
	saslPlain    = "PLAIN"
	saslScram256 = "SCRAM-SHA-256"
	saslScram512 = "SCRAM-SHA-512"
)

func (c *Config) encrypted() bool { return c.TLS || c.CAFile != "" || c.CertFile != "" }

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, "flightlog")
	c.Generation = cmp.Or(c.Generation, 1)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.TransactionTimeout = cmp.Or(c.TransactionTimeout, 10*time.Second)
	c.SessionTimeout = cmp.Or(c.SessionTimeout, 10*time.Second)
	c.Name = cmp.Or(c.Name, "flightlog")
	return c
}

// options are those of every client that a connection makes.
func (c *Config) options() ([]kgo.Opt, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.Name),
		kgo.DialTimeout(c.Timeout),
		kgo.RequestTimeoutOverhead(c.Timeout),
		kgo.RetryTimeout(c.Timeout),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RetryBackoffFn(func(tries int) time.Duration { return min(5*time.Millisecond<<min(tries, 8), time.Second) }),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytes(maxMessage),
		kgo.ProducerLinger(0),
	}
	if c.encrypted() {
		config, err := c.tls()
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.DialTLSConfig(config))
	}
	if c.SASL != "" {
		mechanism, err := c.mechanism()
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.SASL(mechanism))
	}
	return options, nil
}

func (c *Config) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s: holds no certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

func (c *Config) mechanism() (sasl.Mechanism, error) {
	password := c.Password
	if c.PasswordFile != "" {
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, err
		}
		password = strings.TrimSpace(string(b))
	}
	switch c.SASL {
	case saslScram256:
		return scram.Auth{User: c.User, Pass: password}.AsSha256Mechanism(), nil
	case saslScram512:
		return scram.Auth{User: c.User, Pass: password}.AsSha512Mechanism(), nil
	}
	return plain.Auth{User: c.User, Pass: password}.AsMechanism(), nil
}
