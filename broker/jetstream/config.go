package jetstream

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Config says which installation on which server. Zero values mean the default
// that a field names; nothing else is changed silently.
type Config struct {
	// URL of the server or servers, separated by commas (nats://, tls://). It
	// holds no credential. Not together with InProcess.
	URL string
	// InProcess is an embedded server in this process.
	InProcess *Server

	// CredentialsFile is a NATS .creds file. At most one of the three.
	CredentialsFile string
	// TokenFile holds a token; white space around it is cut.
	TokenFile string
	// Token is a token that the caller has from its environment or from an
	// embedded server.
	Token string

	// CAFile is the PEM of the authorities that the server's certificate is
	// checked against; default: the system's.
	CAFile string
	// CertFile and KeyFile are this client's certificate, both or none.
	CertFile, KeyFile string

	// Prefix begins every subject and stream name of the installation;
	// default "flightlog".
	Prefix string
	// Generation of commit logs and row topics; default 1.
	Generation int64
	// Partitions that the caller counts on; 0 = what is provisioned.
	Partitions int
	// Timeout of one request to the server; default 5 s.
	Timeout time.Duration
	// ReadAhead is how many bytes a reader may have fetched before they are
	// asked for; default 2 MiB. It is one message at least, and may be as much
	// as the longest message.
	ReadAhead int
	// SnapshotCommits and SnapshotBytes are how long a commit log gets, in
	// commits or in bytes, before the next snapshot is due; default 1,000 and
	// 64 MiB.
	SnapshotCommits, SnapshotBytes int64
	// LeaseTTL is how long a worker that is dead or cut off keeps its
	// partitions. Provision stores it, default 10 s, and every worker goes by
	// what is stored.
	LeaseTTL time.Duration
	// Name of the connection as the server shows it; default "flightlog".
	Name string

	// Layout is what Provision goes by; a connection does not need it.
	Layout Layout
}

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate reports everything that is wrong, each with key, value and what
// would be right.
func (c *Config) Validate() error {
	errs := c.Layout.problems()
	wrong := func(key string, value any, right string) {
		errs = append(errs, fmt.Errorf("%s: %v: %s", key, value, right))
	}
	switch {
	case c.URL == "" && c.InProcess == nil:
		wrong("url", `""`, "must name a server such as nats://127.0.0.1:4222")
	case c.URL != "" && c.InProcess != nil:
		wrong("url", "set", "must be empty with an embedded server")
	}
	for server := range strings.SplitSeq(c.URL, ",") {
		u, err := url.Parse(server)
		switch {
		case err != nil || u.User != nil:
			wrong("url", "(hidden)", "must be a URL without user or password; use credentials_file or token_file")
		case server != "" && u.Host == "":
			wrong("url", server, "must look like nats://host:4222")
		}
	}
	credentials := 0
	for _, v := range []string{c.CredentialsFile, c.TokenFile, c.Token} {
		if v != "" {
			credentials++
		}
	}
	if credentials > 1 {
		wrong("credentials_file, token_file, token", credentials, "must be at most one")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		wrong("cert_file, key_file", fmt.Sprintf("%q, %q", c.CertFile, c.KeyFile), "must both be set or none")
	}
	for _, file := range []struct{ key, path string }{
		{"credentials_file", c.CredentialsFile}, {"token_file", c.TokenFile},
		{"ca_file", c.CAFile}, {"cert_file", c.CertFile}, {"key_file", c.KeyFile},
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
	if c.Prefix != "" && !prefixPattern.MatchString(c.Prefix) {
		wrong("prefix", c.Prefix, "must be letters, digits, - and _, at most 64")
	}
	if c.Generation < 0 {
		wrong("generation", c.Generation, "must be 1 or more")
	}
	if c.Partitions < 0 {
		wrong("partitions", c.Partitions, "must be 1 or more, or 0 for what is provisioned")
	}
	if c.Timeout < 0 {
		wrong("timeout", c.Timeout, "must be longer than 0")
	}
	if c.ReadAhead < 0 {
		wrong("read_ahead", c.ReadAhead, "must be more than 0")
	}
	if c.SnapshotCommits < 0 {
		wrong("snapshot_commits", c.SnapshotCommits, "must be more than 0")
	}
	if c.SnapshotBytes < 0 {
		wrong("snapshot_bytes", c.SnapshotBytes, "must be more than 0")
	}
	if c.LeaseTTL != 0 && c.LeaseTTL < time.Second {
		wrong("lease_ttl", c.LeaseTTL, "must be 1s or longer")
	}
	return errors.Join(errs...)
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, "flightlog")
	c.Generation = cmp.Or(c.Generation, 1)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.ReadAhead = cmp.Or(c.ReadAhead, 2<<20)
	c.Name = cmp.Or(c.Name, "flightlog")
	return c
}

// options are the client's: it reconnects for ever, and never keeps a publish
// back for after a reconnect, so that what failed has not happened later.
func (c *Config) options() ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name(c.Name),
		nats.Timeout(c.Timeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(logAsync),
	}
	token := c.Token
	if c.InProcess != nil {
		options = append(options, nats.InProcessServer(c.InProcess.server))
		token = c.InProcess.token
	}
	if c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, err
		}
		token = strings.TrimSpace(string(b))
	}
	if token != "" {
		options = append(options, nats.Token(token))
	}
	if c.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(c.CredentialsFile))
	}
	if c.CAFile != "" {
		options = append(options, nats.RootCAs(c.CAFile))
	}
	if c.CertFile != "" {
		options = append(options, nats.ClientCert(c.CertFile, c.KeyFile))
	}
	return options, nil
}
